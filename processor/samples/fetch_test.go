package samples

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hark-push/hark/egress"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

const article = `<!doctype html><html lang="de"><head>
<title>  Ein
 Titel &amp; mehr </title>
<meta name="Description" content=" Kurz  gesagt "><meta property="og:description" content="other">
<link rel="canonical" href="/a?b=c"><style>p{}</style><script>var x = "<p>no</p>"</script></head>
<body><nav><a href="/1">Menu</a></nav>
<main><h1>Größe</h1><p>Ein <b>fetter</b>
   Satz<br>mit Umbruch.</p><p hidden>weg</p><script>no()</script><ul><li>eins<li>zwei <a href="#">drei</a></ul></main>
<footer>Impressum</footer></body></html>`

// pages serves what the tests fetch.
func pages(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	send := func(path, contentType, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write([]byte(body))
		})
	}
	send("/article", "text/html; charset=utf-8", article)
	send("/latin1", "text/html; charset=iso-8859-1", "<title>Gr\xf6\xdfe</title>")
	send("/meta-charset", "text/html", `<meta charset="windows-1252"><title>`+"10 \x80</title>")
	send("/text", "text/plain; charset=utf-8", "one\n  two   three\n\nfour")
	send("/xhtml", "application/xhtml+xml", `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>X</title></head><body>y</body></html>`)
	send("/image", "image/png", "\x89PNG")
	send("/empty", "text/html", "")
	send("/bare", "text/html", `<p>a</p>b<div>c<span>d</span></div>`)
	send("/canonical-script", "text/html", `<link rel=canonical href="javascript:alert(1)"><base href="https://example.com/x/"><link rel=canonical href="y">`)
	send("/long", "text/plain; charset=utf-8", strings.Repeat("ä ", 100_000))
	send("/large", "text/html", strings.Repeat("x", 1<<20+1))
	send("/deep", "text/html", strings.Repeat("<div>", 100_000))
	mux.HandleFunc("GET /untyped", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil })
	mux.HandleFunc("GET /status/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		w.WriteHeader(n)
	})
	mux.HandleFunc("GET /hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		to := "/article"
		if n > 1 {
			to = fmt.Sprint("/hop/", n-1)
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	mux.HandleFunc("GET /to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
	})
	mux.HandleFunc("GET /bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 16 {
			_, _ = z.Write(make([]byte, 1<<20))
		}
		_ = z.Close()
	})
	mux.HandleFunc("GET /cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("short"))
	})
	mux.HandleFunc("GET /hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func fetch(ctx context.Context, o FetchOptions, url string) (Page, []string, error) {
	content, _ := json.Marshal(map[string]string{"url": url})
	result, steps, err := do(ctx, NewFetch(o), lifecycle.Content{Type: "application/json", Data: content}, "")
	var page Page
	if err == nil {
		err = json.Unmarshal(result.Data, &page)
	}
	return page, steps, err
}

func TestFetchReadsPages(t *testing.T) {
	server := pages(t)
	tests := map[string]Page{
		"/article": {
			Title: "Ein Titel & mehr", Description: "Kurz gesagt", Canonical: server.URL + "/a?b=c", Lang: "de",
			Text: "Größe\nEin fetter Satz\nmit Umbruch.\neins\nzwei drei", Links: 2, Bytes: len(article),
		},
		"/latin1":           {Title: "Größe", Bytes: 20},
		"/meta-charset":     {Title: "10 €", Bytes: 48},
		"/text":             {Text: "one\ntwo three\nfour", Bytes: 23},
		"/xhtml":            {Title: "X", Text: "y", Bytes: 93},
		"/empty":            {},
		"/bare":             {Text: "a\nb\ncd", Bytes: 35},
		"/canonical-script": {Canonical: "https://example.com/x/y", Bytes: 112},
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			page, steps, err := fetch(t.Context(), FetchOptions{Allow: loopback}, server.URL+path+"#part")
			if err != nil {
				t.Fatal(err)
			}
			want.URL, want.Status = server.URL+path, 200
			if page != want {
				t.Errorf("got  %+v\nwant %+v", page, want)
			}
			if !slices.Equal(steps, []string{"connecting", "downloading", "extracting"}) {
				t.Errorf("steps %q", steps)
			}
		})
	}
	t.Run("/long", func(t *testing.T) {
		page, _, err := fetch(t.Context(), FetchOptions{Allow: loopback}, server.URL+"/long")
		if err != nil || !page.Truncated || len(page.Text) > maxText || len(page.Text) < maxText-4 {
			t.Errorf("%d bytes, truncated %t, %v", len(page.Text), page.Truncated, err)
		}
	})
}

func TestFetchTakesURLsInSeveralForms(t *testing.T) {
	server := pages(t)
	at := server.URL + "/text"
	h := NewFetch(FetchOptions{AllowPrivate: true})
	for name, c := range map[string]lifecycle.Content{
		"text":  {Type: "text/plain; charset=utf-8", Data: []byte(at + "\n")},
		"JSON":  {Type: "application/json", Data: []byte(`{"url":"` + at + `"}`)},
		"query": {},
	} {
		if _, _, err := do(t.Context(), h, c, "url="+url.QueryEscape(at)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFetchFollowsRedirects(t *testing.T) {
	server := pages(t)
	page, _, err := fetch(t.Context(), FetchOptions{Allow: loopback}, server.URL+"/hop/5")
	if err != nil || page.URL != server.URL+"/article" {
		t.Errorf("%s, %v", page.URL, err)
	}
}

func TestFetchFailures(t *testing.T) {
	server := pages(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	tests := map[string]struct {
		url, code string
		retried   bool
	}{
		"refused":                 {"http://" + closed.Addr().String(), "unreachable", true},
		"not found":               {server.URL + "/status/404", "bad-status", false},
		"no content":              {server.URL + "/status/204", "bad-status", false},
		"broken":                  {server.URL + "/status/503", "bad-status", true},
		"busy":                    {server.URL + "/status/429", "bad-status", true},
		"image":                   {server.URL + "/image", "not-a-page", false},
		"untyped":                 {server.URL + "/untyped", "not-a-page", false},
		"large":                   {server.URL + "/large", "too-large", false},
		"gzip bomb":               {server.URL + "/bomb", "too-large", false},
		"nested without end":      {server.URL + "/deep", "not-a-page", false},
		"cut off":                 {server.URL + "/cut", "unreachable", true},
		"hanging":                 {server.URL + "/hang", "unreachable", true},
		"six redirects":           {server.URL + "/hop/6", "unreachable", false},
		"redirect to file":        {server.URL + "/to?url=file:///etc/passwd", "bad-url", false},
		"redirect with a user":    {server.URL + "/to?url=http://a:b@example.com", "bad-url", false},
		"redirect to a number":    {server.URL + "/to?url=http://2130706433/", "blocked-address", false},
		"redirect to metadata":    {server.URL + "/to?url=http://169.254.169.254/latest/", "blocked-address", false},
		"redirect to another net": {server.URL + "/to?url=http://10.0.0.1/", "blocked-address", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			options := FetchOptions{Allow: loopback, MaxBytes: 1 << 20}
			if name == "hanging" {
				options.Timeout = 50 * time.Millisecond
			}
			_, _, err := fetch(t.Context(), options, test.url)
			if code(err) != test.code {
				t.Fatalf("got %v, want %s", err, test.code)
			}
			if retried := fmt.Sprintf("%T", err) == "*processor.retryError"; retried != test.retried {
				t.Errorf("retried %t", retried)
			}
			f, _ := errors.AsType[*lifecycle.Failure](err)
			if strings.Contains(f.Message+f.Detail, "127.0.0.1") || strings.Contains(f.Message+f.Detail, "refused") {
				t.Errorf("tells too much: %+v", f)
			}
		})
	}
}

// What is not public is refused before anything is sent, in the same words
// whether or not somebody listens there.
func TestFetchRefusesWhatIsNotPublic(t *testing.T) {
	hit := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hit <- r.Host }))
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	hosts := []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "localhost", "[::1]", "[::]", // this machine
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fd00::1]", "[fec0::1]", // private
		"169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", // link-local, metadata
		"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", // IPv4 in IPv6
		"[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", // NAT64
		"[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001::1]", // 6to4, Teredo
		// Other notations of these addresses.
		"2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "0", "017700000001",
		// Nobody has these.
		"255.255.255.255", "224.0.0.1", "[ff02::1]", "192.0.2.1", "198.18.0.1", "240.0.0.1",
	}
	for _, host := range hosts {
		for _, at := range []string{host, fmt.Sprintf("%s:%d", host, port), host + ":80"} {
			t.Run(at, func(t *testing.T) {
				_, _, err := fetch(t.Context(), FetchOptions{}, "http://"+at+"/")
				if err != errBlocked {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	t.Run("other port", func(t *testing.T) {
		if _, _, err := fetch(t.Context(), FetchOptions{}, "http://93.184.216.34:22/"); err != errBlocked {
			t.Errorf("got %v", err)
		}
	})
	t.Run("metadata though private is allowed", func(t *testing.T) {
		if _, _, err := fetch(t.Context(), FetchOptions{AllowPrivate: true}, "http://169.254.169.254/"); err != errBlocked {
			t.Errorf("got %v", err)
		}
	})
	if len(hit) > 0 {
		t.Errorf("%s was asked", <-hit)
	}
}

func TestFetchRefusesURLs(t *testing.T) {
	for _, at := range []string{
		"", "example.com", "/path", "ftp://example.com/", "file:///etc/passwd", "javascript:1", "http://", "http:///x",
		"http://user@example.com/", "http://user:pass@example.com/", "http://exa mple.com/", "http://[::1", "http://a/%zz", "gopher://127.0.0.1/",
		"https://example.com/" + strings.Repeat("x", 2048),
	} {
		if _, _, err := fetch(t.Context(), FetchOptions{}, at); code(err) != "bad-url" {
			t.Errorf("%q: %v", at, err)
		}
	}
	for _, content := range []string{"", "{", `{"url":1}`} {
		if _, _, err := do(t.Context(), NewFetch(FetchOptions{}), lifecycle.Content{Type: "application/json", Data: []byte(content)}, ""); code(err) != "bad-content" {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestFetchStopsWithItsContext(t *testing.T) {
	server := pages(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if _, _, err := fetch(ctx, FetchOptions{Allow: loopback}, server.URL+"/hang"); err != cause {
		t.Errorf("got %v", err)
	}
}

func FuzzFetchTarget(f *testing.F) {
	f.Add("https://example.com/", `{"url":"https://example.com/"}`)
	f.Add("http://0x7f.1", `{"url":null}`)
	f.Add("", `{"":1}`)
	f.Fuzz(func(t *testing.T, text, form string) {
		for mediaType, data := range map[string]string{"text/plain": text, "application/json": form} {
			u, err := parseTarget(processor.NewJob(lifecycle.Request{}, lifecycle.Content{Type: mediaType, Data: []byte(data)}, nil))
			if err != nil {
				if c := code(err); c != "bad-url" && c != "bad-content" && c != "bad-options" && c != "blocked-address" {
					t.Errorf("error %v", err)
				}
				continue
			}
			if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Hostname() == "" || egress.Numeric(u.Hostname()) {
				t.Errorf("accepted %s", u)
			}
		}
	})
}

func FuzzExtract(f *testing.F) {
	at, _ := url.Parse("https://example.com/")
	f.Add([]byte(article), "text/html")
	f.Add([]byte("<table><a href=x><svg><title>"), "text/html; charset=utf-16")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		page, err := extract(body, contentType, at)
		if err != nil {
			return
		}
		if len(page.Text) > maxText || strings.ContainsAny(page.Text, "\t\r\x00") || strings.Contains(page.Text, "  ") {
			t.Errorf("text %q", page.Text)
		}
		if _, err := json.Marshal(page); err != nil || bytes.ContainsRune([]byte(page.Title), '\n') {
			t.Errorf("page %+v, %v", page, err)
		}
	})
}
