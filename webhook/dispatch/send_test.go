package dispatch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/servertest"
	"github.com/hark-push/hark/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// post sends one message with a sender that may reach this machine.
func post(t *testing.T, url string, o Options, timeout time.Duration) answer {
	t.Helper()
	if o.AllowCIDRs == nil {
		o.AllowCIDRs = loopback
	}
	s := newSender(o.withDefaults())
	t.Cleanup(s.close)
	e := Endpoint{ID: "ep", URL: url, Timeout: timeout, Headers: map[string]string{"X-Mine": "yes"}}
	return s.post(t.Context(), &e, Message{ID: "r_1", Body: []byte(`{"a":1}`)}, time.Now(), []webhook.Key{webhook.NewSecret()})
}

func receiver(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// raw answers every connection with bytes, or with what f does.
func raw(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	return "http://" + servertest.Serve(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		buffer := make([]byte, 4096)
		_, _ = conn.Read(buffer)
		f(conn)
	})
}

// TestWhatEndpointsMayDo: each misbehavior is an answer of its own, and none of them keeps
// us longer than its time.
func TestWhatEndpointsMayDo(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + closed.Addr().String()
	_ = closed.Close()
	elsewhere := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
	slowly := func(head string) func(net.Conn) {
		return func(conn net.Conn) {
			for _, b := range []byte(head) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond) // that is how it behaves
			}
		}
	}
	tests := []struct {
		name   string
		url    string
		status int
		class  string
	}{
		{"200", receiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("fine")) }).URL, 200, ""},
		{"204", receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }).URL, 204, ""},
		{"500", receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }).URL, 500, ""},
		{"redirect", receiver(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}).URL, 307, ""},
		{"refuses", refusing, 0, ClassUnreachable},
		{"hangs up", raw(t, func(net.Conn) {}), 0, ClassUnreachable},
		{"is no HTTP", raw(t, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-OpenSSH\r\n\r\n")) }), 0, ClassProtocol},
		{"says nothing", raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), 0, ClassTimeout},
		{"one byte at a time", raw(t, slowly("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: b\r\n", 1000))), 0, ClassTimeout},
		{"a body one byte at a time", raw(t, slowly("HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 10000))), 200, ""},
		{"endless header", raw(t, func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
			for line := bytes.Repeat([]byte("X-A: b\r\n"), 1000); ; {
				if _, err := c.Write(line); err != nil {
					return
				}
			}
		}), 0, ClassProtocol},
		{"not TLS", strings.Replace(receiver(t, func(http.ResponseWriter, *http.Request) {}).URL, "http:", "https:", 1), 0, ClassTLS},
		{"no such host", "http://nowhere.invalid/", 0, ClassUnreachable},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			a := post(t, c.url, Options{}, 2*time.Second)
			if a.status != c.status || a.class != c.class {
				t.Errorf("%s, want %d %q", &a, c.status, c.class)
			}
			if len(a.body) > keptResponse || time.Since(began) > 8*time.Second {
				t.Errorf("%d bytes after %v", len(a.body), time.Since(began))
			}
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	secret := webhook.NewSecret()
	var got *http.Request
	var body []byte
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = w.Write(bytes.Repeat([]byte("long "), 4000))
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	o := Options{AllowCIDRs: loopback, RootCAs: roots, Certificate: &server.TLS.Certificates[0]}.withDefaults()
	s := newSender(o)
	defer s.close()
	e := Endpoint{URL: server.URL + "/hook?x=1", Timeout: 10 * time.Second, Headers: map[string]string{"x-mine": "yes", "Authorization": "Bearer t"}}
	for range 3 {
		a := s.post(t.Context(), &e, Message{ID: "r_1", Body: []byte(`{"a":1}`)}, time.Now(), []webhook.Key{secret})
		if a.status != 200 || len(a.body) != keptResponse {
			t.Fatalf("%s, %d bytes", &a, len(a.body))
		}
	}
	if err := webhook.Verify(got.Header, body, time.Now(), secret); err != nil {
		t.Error(err)
	}
	if got.Proto != "HTTP/2.0" || got.Method != "POST" || got.URL.RequestURI() != "/hook?x=1" || len(got.TLS.PeerCertificates) != 1 {
		t.Errorf("%s %s %s, %d client certificates", got.Proto, got.Method, got.URL, len(got.TLS.PeerCertificates))
	}
	for name, want := range map[string]string{"X-Mine": "yes", "Authorization": "Bearer t", "Content-Type": "application/cloudevents+json; charset=utf-8", "Webhook-Id": "r_1"} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if a := post(t, server.URL, Options{}, 5*time.Second); a.class != ClassTLS {
		t.Errorf("a certificate that nobody vouches for: %s", &a)
	}
}

// TestForgedURLs: nothing but public addresses is reached, neither when an endpoint is made nor
// when it is delivered to, and the owner does not learn why.
func TestForgedURLs(t *testing.T) {
	hit := false
	server := receiver(t, func(http.ResponseWriter, *http.Request) { hit = true })
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	s := newSender(Options{AllowHTTP: true}.withDefaults())
	defer s.close()
	hosts := []string{
		"127.0.0.1", "127.0.0.53", "localhost", "[::1]", "0.0.0.0", "[::]", "169.254.169.254", "[fe80::1]", "10.0.0.1", "192.168.0.1", "172.31.255.255", "100.64.0.1",
		"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "[fd00::1]",
		"2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "[2001:db8::1]", "224.0.0.1", "255.255.255.255",
	}
	for _, host := range hosts {
		url := "http://" + host + ":" + port + "/"
		if err := s.checkURL(t.Context(), url); err == nil || err.Field != "url" || err.Detail != urlRefused {
			t.Errorf("%s when it is made: %v", host, err)
		}
		// As if its name had led elsewhere then.
		e := Endpoint{URL: url, Timeout: 5 * time.Second}
		a := s.post(t.Context(), &e, Message{ID: "r_1"}, time.Now(), []webhook.Key{webhook.NewSecret()})
		if a.status != 0 || a.class != ClassUnreachable {
			t.Errorf("%s when it is delivered to: %s", host, &a)
		}
		// A redirect there is not followed.
		redirect := receiver(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url, http.StatusFound) })
		if a := post(t, redirect.URL, Options{}, 5*time.Second); a.status != 302 {
			t.Errorf("redirected to %s: %s", host, &a)
		}
	}
	if hit {
		t.Error("one of them was reached")
	}
	for _, url := range []string{
		"ftp://example.org/", "file:///etc/passwd", "javascript:alert(1)", "//example.org", "example.org", "", "http://", "https://user:pw@93.184.216.34/", "https://93.184.216.34/#x",
		"https://93.184.216.34/" + strings.Repeat("x", 2048), "http://nowhere.invalid/", "unix:///tmp/x", "http://[::1", "https://exa mple.org/",
	} {
		if err := s.checkURL(t.Context(), url); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
	for _, url := range []string{"http://93.184.216.34:0/", "http://93.184.216.34:99999/", "http://93.184.216.34:65536/", "http://93.184.216.34:99999999999999999999/", "http://[2606:2800:220:1::]:0/"} {
		if err := s.checkURL(t.Context(), url); err == nil || !strings.Contains(err.Detail, "port") {
			t.Errorf("%s: %v", url, err)
		}
	}
	strict := newSender(Options{}.withDefaults())
	defer strict.close()
	for query, says := range map[string]string{
		"?a=b c": "query", "?a=b HTTP/1.0": "query", "?x=é": "query", "?a=%": "query", "?a=%4": "query", "?a=%zz": "query",
		"?a=\x7f": "absolute", "#": "fragment", "?a#": "fragment", "#x": "fragment",
	} {
		if err := s.checkURL(t.Context(), "https://93.184.216.34/h"+query); err == nil || !strings.Contains(err.Detail, says) {
			t.Errorf("%q: %v, want %s", query, err, says)
		}
	}
	for _, query := range []string{"?", "?a=b+c&d=%20%C3%A9", "?a=[1]'\"<>{}|^`"} {
		if err := s.checkURL(t.Context(), "https://93.184.216.34/h"+query); err != nil {
			t.Errorf("%q: %v", query, err)
		}
	}
	if err := s.checkURL(t.Context(), "//93.184.216.34/"); err == nil || strings.HasSuffix(err.Detail, "not ") {
		t.Errorf("without a scheme: %v", err)
	}
	if err := strict.checkURL(t.Context(), "http://93.184.216.34/"); err == nil || err.Detail != plainRefused {
		t.Errorf("http: %v", err)
	}
	for _, url := range []string{"https://93.184.216.34/hook?a=b", "https://93.184.216.34:65535/", "https://93.184.216.34:/"} {
		if err := strict.checkURL(t.Context(), url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestNameThatChanges: a name that is public when it is looked at and leads inside when it is
// connected to is of no use.
func TestNameThatChanges(t *testing.T) {
	hit := false
	server := receiver(t, func(http.ResponseWriter, *http.Request) { hit = true })
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	answers := make(chan string, 16)
	before := net.DefaultResolver
	net.DefaultResolver = resolver(t, answers)
	defer func() { net.DefaultResolver = before }()
	s := newSender(Options{AllowHTTP: true}.withDefaults())
	defer s.close()
	url := "http://rebind.example:" + port + "/"
	answers <- "93.184.216.34"
	if err := s.checkURL(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	answers <- "127.0.0.1"
	e := Endpoint{URL: url, Timeout: 5 * time.Second}
	if a := s.post(t.Context(), &e, Message{ID: "r_1"}, time.Now(), []webhook.Key{webhook.NewSecret()}); a.class != ClassUnreachable || hit {
		t.Errorf("%s, reached %v", &a, hit)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "007": 7 * time.Second, "3600": time.Hour, "3601": maxRetryAfter, "999999": maxRetryAfter,
		"99999999999999999999": maxRetryAfter, strings.Repeat("9", 5000): maxRetryAfter, "18446744073709551616": maxRetryAfter,
		"-1": 0, "-99999999999999999999": 0, "+5": 0, "1.5": 0, "1e30": 0, "0x10": 0, "5s": 0, "soon": 0, "Inf": 0, "NaN": 0, "5, 6": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, now.Add(-time.Hour).Format(http.TimeFormat): 0,
		now.Add(48 * time.Hour).Format(http.TimeFormat): maxRetryAfter, "Fri, 31 Dec 9999 23:59:59 GMT": maxRetryAfter, "Mon, 01 Jan 0001 00:00:00 GMT": 0,
		now.Add(90 * time.Second).Format(time.ANSIC): 90 * time.Second, now.Add(-time.Second).Format(time.ANSIC): 0,
		"Friday, 02-Jan-26 03:05:35 GMT": 90 * time.Second, "Friday, 02-Jan-26 03:04:04 GMT": 0,
		// 2075, which is less than 50 years from now.
		"Thursday, 02-Jan-75 03:04:05 GMT": maxRetryAfter,
		"Saturday, 02-Jan-77 03:04:05 GMT": 0, // 1977
		"Sat, 31 Feb 2026 03:04:05 GMT":    0, "Fri, 02 Jan 2026 03:05:35 +0100": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestConnectionThatIsJustClosed: a receiver that closes a kept connection as the next POST begins
// gets that on another one, once, and it is no failure.
func TestConnectionThatIsJustClosed(t *testing.T) {
	const rounds = 200
	var mu sync.Mutex
	var taken []string // by their webhook-id
	cut := 0
	url := "http://" + servertest.Serve(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		reader := bufio.NewReader(conn)
		for n := 0; ; n++ {
			if n > 0 { // it answers one on each connection, and closes it when the next one comes
				if _, err := reader.Peek(1); err == nil {
					mu.Lock()
					cut++
					mu.Unlock()
				}
				return
			}
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if _, ok := r.Header["Idempotency-Key"]; ok {
				t.Errorf("what is meant for net/http is sent: %v", r.Header)
			}
			mu.Lock()
			taken = append(taken, r.Header.Get("Webhook-Id"))
			mu.Unlock()
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	s := newSender(Options{AllowCIDRs: loopback}.withDefaults())
	defer s.close()
	e := Endpoint{ID: "ep", URL: url, Timeout: 10 * time.Second}
	var want []string
	for n := range rounds {
		id := "r_" + strconv.Itoa(n)
		want = append(want, id)
		if a := s.post(t.Context(), &e, Message{ID: id, Body: []byte(`{"a":1}`)}, time.Now(), []webhook.Key{webhook.NewSecret()}); a.status != 204 {
			t.Fatalf("attempt %d: %s", n, &a)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(taken, want) {
		t.Errorf("%d were taken: %v", len(taken), taken)
	}
	if cut < rounds/2 { // the others saw the end of their connection before they began
		t.Errorf("only %d met a connection that was being closed", cut)
	}
}

// TestAnswerThatBreaks: what was begun to be answered is not sent again by itself, nor what broke
// on a new connection.
func TestAnswerThatBreaks(t *testing.T) {
	for name, began := range map[string]string{"in the head": "HTTP/1.1 20", "at once": ""} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := 0
			url := "http://" + servertest.Serve(t, func(conn net.Conn) {
				defer func() { _ = conn.Close() }()
				reader := bufio.NewReader(conn)
				for n := range 2 {
					r, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					mu.Lock()
					seen++
					mu.Unlock()
					if n == 0 && began != "" {
						_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
						continue
					}
					_, _ = io.WriteString(conn, began)
					return
				}
			})
			s := newSender(Options{AllowCIDRs: loopback}.withDefaults())
			defer s.close()
			e := Endpoint{ID: "ep", URL: url, Timeout: 10 * time.Second}
			send := func() answer {
				return s.post(t.Context(), &e, Message{ID: "r_1", Body: []byte(`{"a":1}`)}, time.Now(), []webhook.Key{webhook.NewSecret()})
			}
			if began != "" {
				if a := send(); a.status != 204 {
					t.Fatal(&a)
				}
			}
			if a := send(); a.class != ClassUnreachable && a.class != ClassProtocol {
				t.Errorf("answer %s", &a)
			}
			mu.Lock()
			defer mu.Unlock()
			if want := 1 + min(len(began), 1); seen != want {
				t.Errorf("%d arrived, want %d", seen, want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	schedule := []time.Duration{10 * time.Second, time.Minute}
	for _, c := range []struct {
		answer  answer
		attempt int
		state   State
		class   string
		least   time.Duration
		most    time.Duration
		hold    time.Duration
		gone    bool
	}{
		{answer{status: 200}, 1, Delivered, "", 0, 0, 0, false},
		{answer{status: 299}, 9, Delivered, "", 0, 0, 0, false},
		{answer{status: 199}, 1, Waiting, ClassStatus, 8 * time.Second, 12 * time.Second, 0, false},
		{answer{status: 301}, 1, Waiting, ClassRedirect, 8 * time.Second, 12 * time.Second, 0, false},
		{answer{status: 404}, 2, Waiting, ClassStatus, 48 * time.Second, 72 * time.Second, 0, false},
		{answer{status: 500}, 3, Dead, ClassStatus, 0, 0, 0, false},
		{answer{status: 410}, 1, Dead, ClassGone, 0, 0, 0, true},
		{answer{status: 429, retryAfter: 5 * time.Minute}, 1, Waiting, ClassStatus, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute, false},
		{answer{status: 503, retryAfter: time.Second}, 1, Waiting, ClassStatus, 8 * time.Second, 12 * time.Second, time.Second, false},
		{answer{status: 500, retryAfter: time.Hour}, 1, Waiting, ClassStatus, 8 * time.Second, 12 * time.Second, 0, false},
		{answer{class: ClassTimeout}, 1, Waiting, ClassTimeout, 8 * time.Second, 12 * time.Second, 0, false},
		{answer{class: ClassTimeout}, 3, Dead, ClassTimeout, 0, 0, 0, false},
	} {
		v := judge(&Claim{Attempt: c.attempt, Endpoint: Endpoint{Schedule: schedule}}, c.answer)
		o := v.outcome
		if o.State != c.state || o.Attempt.Class != c.class || o.After < c.least || o.After > c.most || v.hold != c.hold || v.gone != c.gone {
			t.Errorf("%s, attempt %d: %s %q after %v, hold %v, gone %v", &c.answer, c.attempt, o.State, o.Attempt.Class, o.After, v.hold, v.gone)
		}
	}
	for failures, least := range map[int]time.Duration{0: 0, 4: 0, 5: 12 * time.Second, 6: 24 * time.Second, 100: 8 * time.Minute} {
		if d := breaker(failures); d < least || d > least*2 {
			t.Errorf("after %d failures: %v", failures, d)
		}
	}
}

func TestVault(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	closed, err := newVault(key)
	if err != nil {
		t.Fatal(err)
	}
	open, err := newVault(nil)
	if err != nil {
		t.Fatal(err)
	}
	hidden := closed.seal("secret", "ep_1")
	if bytes.Contains(hidden, []byte("secret")) {
		t.Error("it can be read")
	}
	if text, err := closed.open(hidden, "ep_1"); err != nil || text != "secret" {
		t.Errorf("%q %v", text, err)
	}
	// A secret may be from before there was a key.
	if text, err := closed.open(open.seal("secret", "ep_1"), "ep_1"); err != nil || text != "secret" {
		t.Errorf("%q %v", text, err)
	}
	other, _ := newVault(bytes.Repeat([]byte{8}, 32))
	for name, f := range map[string]func() (string, error){
		"of another endpoint": func() (string, error) { return closed.open(hidden, "ep_2") },
		"with another key":    func() (string, error) { return other.open(hidden, "ep_1") },
		"without a key":       func() (string, error) { return open.open(hidden, "ep_1") },
		"cut":                 func() (string, error) { return closed.open(hidden[:8], "ep_1") },
		"empty":               func() (string, error) { return closed.open(nil, "ep_1") },
	} {
		if text, err := f(); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
	if _, err := newVault([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}

// resolver answers every question with the next address, over and over with the last one.
func resolver(t *testing.T, answers <-chan string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		var last netip.Addr
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			question := buffer[:n]
			// The name ends with an empty label; type and class follow.
			end := bytes.IndexByte(question[12:], 0) + 12 + 5
			reply := append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
			if question[end-3] == 1 { // an A record is asked for
				select {
				case text := <-answers:
					last = netip.MustParseAddr(text)
				default:
				}
				ip := last.As4()
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, ip[:]...)
			}
			_, _ = conn.WriteTo(reply, from)
		}
	})
	t.Cleanup(func() { _ = conn.Close(); serving.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://example.org/x", "http://127.1/", "https://[::ffff:127.0.0.1]/", "https://a@b/", "https://0x7f.1"} {
		f.Add(s)
	}
	s := newSender(Options{AllowHTTP: true}.withDefaults())
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // names are not looked up: only what the text itself says counts
	f.Fuzz(func(t *testing.T, text string) {
		if s.checkURL(ctx, text) == nil {
			e := Endpoint{URL: text, Timeout: time.Second}
			if _, err := http.NewRequest(http.MethodPost, e.URL, http.NoBody); err != nil {
				t.Errorf("%q is taken, but %v", text, err)
			}
		}
	})
}
