package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hark-push/hark/cli"
)

// verb runs a verb, and returns how it ends and what it prints.
func verb(t *testing.T, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(in), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

const doc = `{"id":"a1","status":"failed","route":"sleep","topic":null,"step":"two","percent":50,"message":"so\u001b[31m","attempt":2,"position":null,` +
	`"eta":null,"error":{"code":"broken","message":"it is"},"result":null,"sequence":4,"createdAt":"2026-01-02T03:04:05.678Z","updatedAt":"2026-01-02T03:04:06.000Z",` +
	`"startedAt":null,"endedAt":"2026-01-02T03:04:06.000Z","expiresAt":null}`

// gateway answers as one does, with fixed documents.
func gateway(t *testing.T) (url string, seen *[]string) {
	seen = new([]string)
	mux := http.NewServeMux()
	answer := func(pattern, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			*seen = append(*seen, fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"), text))
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
	}
	answer("GET /v1/requests", `{"requests":[`+doc+`],"next":null}`)
	answer("GET /v1/requests/a1", doc)
	answer("POST /v1/requests", doc)
	answer("POST /v1/requests/a1/cancel", doc)
	answer("GET /v1/dead", `{"routes":[{"route":"sleep","requests":3,"oldest":"2026-01-02T03:04:05.000Z","newest":"2026-01-02T03:04:06.000Z","messages":2,"links":[]}],"next":null}`)
	answer("GET /v1/dead/sleep", `{"requests":[{"owner":"me","failures":2,"request":`+doc+`,"links":[]}],"next":null}`)
	answer("GET /v1/dead/sleep/messages", `{"count":3,"messages":[{"id":"","reason":"rejected","request":null,"wrong":"no id","at":"2026-01-02T03:04:05.000Z","contentType":"","headers":{},"size":7,"body":"x"}]}`)
	answer("GET /v1/webhooks", `{"webhooks":[{"id":"w1","url":"https://x.example","description":"ours","status":"active","events":["*"],"createdAt":"2026-01-02T03:04:05.000Z"}],"next":null}`)
	answer("GET /v1/webhooks/w1/deliveries", `{"deliveries":[{"id":"d1","type":"request.failed","request":"a1","state":"waiting","attempts":1,"due":"2026-01-02T03:04:06.000Z","createdAt":"2026-01-02T03:04:05.000Z"}],"next":null}`)
	answer("POST /v1/webhooks", `{"id":"w2","secret":"whsec_x"}`)
	calls := new(atomic.Int32)
	mux.HandleFunc("POST /v1/dead/sleep/redrive", func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		*seen = append(*seen, r.URL.String())
		_, _ = fmt.Fprintf(w, `{"redriven":%d,"more":%t,"before":"2026-01-02T03:04:07.000Z"}`, 2*n, n == 1)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"type":"/problems/not-found","title":"Not found","status":404,"detail":"There is none.","errors":[{"pointer":"{id}","detail":"is none"}]}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, seen
}

// TestOutput: what is printed is what scripts and people rely on.
func TestOutput(t *testing.T) {
	url, _ := gateway(t)
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"requests", "ID  STATUS  ROUTE  TOPIC  SUBMITTED             ATTEMPT  ABOUT\n" +
			"a1  failed  sleep  -      2026-01-02T03:04:05Z  2        broken: it is\n", 0},
		{"requests list --owner=*", "OWNER  ID  STATUS  ROUTE  TOPIC  SUBMITTED             ATTEMPT  ABOUT\n" +
			"-      a1  failed  sleep  -      2026-01-02T03:04:05Z  2        broken: it is\n", 0},
		{"requests show a1", "id         a1\nstatus     failed\nabout      broken: it is\nroute      sleep\nattempt    2\n" +
			"submitted  2026-01-02T03:04:05Z\nchanged    2026-01-02T03:04:06Z\nended      2026-01-02T03:04:06Z\n", 0},
		{"requests show a1 --json", doc + "\n", 0},
		{"requests cancel a1", "a1 failed\n", 0},
		{"submit sleep", "a1\n", 0},
		{"dead", "ROUTE  REQUESTS  MESSAGES  OLDEST                NEWEST\nsleep  3         2         2026-01-02T03:04:05Z  2026-01-02T03:04:06Z\n", 0},
		{"dead list sleep", "ID  OWNER  FAILURES  ENDED                 ERROR\na1  me     2         2026-01-02T03:04:06Z  broken: it is\n", 0},
		{"dead redrive sleep", "6 redriven on sleep\n", 0},
		{"dead messages sleep", "AT                    REASON    REQUEST  SIZE  WRONG\n2026-01-02T03:04:05Z  rejected  -        7     no id\n", 0},
		{"webhooks", "ID  STATUS  URL                EVENTS  ADDED                 ABOUT\nw1  active  https://x.example  *       2026-01-02T03:04:05Z  ours\n", 0},
		{"webhooks deliveries w1", "ID  STATE    TYPE            REQUEST  ATTEMPTS  MADE                  DUE\n" +
			"d1  waiting  request.failed  a1       1         2026-01-02T03:04:05Z  2026-01-02T03:04:06Z\n", 0},
		{"webhooks add https://x.example", "id      w2\nsecret  whsec_x\n", 0},
		{"requests show b2", "", cli.ExitFailed},
	} {
		code, out, errOut := verb(t, "", append(strings.Fields(c.args), "--url="+url)...)
		if code != c.code || out != c.want {
			t.Errorf("%s: %d\n%s\nwant %d\n%s\n%s", c.args, code, out, c.code, c.want, errOut)
		}
	}
	if _, _, errOut := verb(t, "", "requests", "show", "b2", "--url="+url); errOut != "hark: Not found (404): There is none.\n  {id} is none\n" {
		t.Errorf("%q", errOut)
	}
	// Each line of --json is a value, and nothing of it does anything at a terminal.
	for _, args := range []string{"requests", "requests cancel a1", "dead", "dead list sleep", "dead redrive sleep", "dead messages sleep", "webhooks", "webhooks deliveries w1", "webhooks add https://x.example", "version"} {
		more := []string{"--json"}
		if args != "version" {
			more = append(more, "--url="+url)
		}
		code, out, errOut := verb(t, "", append(strings.Fields(args), more...)...)
		if code != 0 || out == "" {
			t.Errorf("%s: %d %s", args, code, errOut)
		}
		for l := range strings.Lines(out) {
			if !json.Valid([]byte(l)) || strings.Contains(l, "\x1b") {
				t.Errorf("%s: %q", args, l)
			}
		}
	}
}

// TestKeyIsSentAndNotShown: the key comes from a file or the environment, and stands in nothing
// that is printed.
func TestKeyIsSentAndNotShown(t *testing.T) {
	url, seen := gateway(t)
	const key = "hark_geheim-geheim-geheim-geheim"
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := verb(t, "", "requests", "--url="+url, "--key="+file); code != 0 {
		t.Fatal(errOut)
	}
	t.Setenv("HARK_KEY", key)
	t.Setenv("HARK_URL", url)
	if code, _, errOut := verb(t, "", "requests"); code != 0 {
		t.Fatal(errOut)
	}
	if len(*seen) != 2 || !strings.Contains((*seen)[0], "Bearer "+key+" ") || !strings.Contains((*seen)[1], "Bearer "+key+" ") {
		t.Errorf("%q", *seen)
	}
	for _, args := range [][]string{{"requests", "--key=" + key}, {"requests", "show", "b2"}, {"requests", "--help"}, {"requests", "--url=http://127.0.0.1:1", "--patience=0s"}} {
		_, out, errOut := verb(t, "", args...)
		if strings.Contains(out+errOut, "geheim") {
			t.Errorf("%v: %s%s", args, out, errOut)
		}
	}
	t.Setenv("HARK_KEY", " ")
	if code, _, errOut := verb(t, "", "requests"); code != cli.ExitUsage || !strings.Contains(errOut, "HARK_KEY is set but empty") {
		t.Errorf("%d %s", code, errOut)
	}
}

// TestUsage: what cannot be meant ends with 2, and names what can.
func TestUsage(t *testing.T) {
	url, seen := gateway(t)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"requests", "--sttus=failed"}, `--status`},
		{[]string{"requests", "lst"}, `list`},
		{[]string{"requests", "--since=yesterday"}, "how long ago"},
		{[]string{"requests", "--limit=-1"}, "limit"},
		{[]string{"submit", "sleep", "{oops"}, "not JSON"},
		{[]string{"submit", "sleep", "1", "--file=x"}, "either"},
		{[]string{"submit", "sleep", "--file=/nowhere/at/all"}, "can be read"},
		{[]string{"submit"}, "route"},
		{[]string{"dead", "purge", "sleep"}, "--yes"},
		{[]string{"dead", "--before=2h"}, "route"},
		{[]string{"webhooks", "recover", "w1"}, "since"},
		{[]string{"follow", "a1", "--topic=x"}, "either"},
		{[]string{"completion", "tcsh"}, "bash"},
		{[]string{"requests", "--url=ftp://x"}, "url"},
	} {
		args := c.args
		if args[0] != "completion" && !strings.HasPrefix(args[len(args)-1], "--url") {
			args = append(args, "--url="+url)
		}
		code, out, errOut := verb(t, "", args...)
		if code != cli.ExitUsage || !strings.Contains(errOut, c.says) || out != "" {
			t.Errorf("%v: %d %q %q, want 2 and %q", args, code, out, errOut, c.says)
		}
	}
	if len(*seen) > 0 {
		t.Errorf("something was asked for nevertheless: %q", *seen)
	}
	code, _, errOut := verb(t, "", "requests", "--url=http://127.0.0.1:1", "--patience=10ms")
	if code != cli.ExitUnreachable || !strings.Contains(errOut, "--url (HARK_URL)") {
		t.Errorf("%d %s", code, errOut)
	}
	if err := cli.Unknown("worke", []string{"store", "worker"}); !strings.Contains(err.Error(), `did you mean "worker"?`) {
		t.Error(err)
	}
}

// TestTriedAgain: a call that does no more when it is made twice is made again while nobody takes
// it, a submission with the same key; one that is refused for good is not.
func TestTriedAgain(t *testing.T) {
	var calls atomic.Int32
	keys := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		switch calls.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		case 3:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, doc)
		default:
			w.WriteHeader(http.StatusConflict)
		}
	}))
	t.Cleanup(s.Close)
	if code, out, errOut := verb(t, "", "submit", "sleep", "--url="+s.URL); code != 0 || out != "a1\n" {
		t.Fatalf("%d %s", code, errOut)
	}
	first := <-keys
	if first == "" || <-keys != first || <-keys != first {
		t.Error("another key")
	}
	if code, _, errOut := verb(t, "", "submit", "sleep", "--url="+s.URL); code != cli.ExitFailed || calls.Load() != 4 {
		t.Errorf("%d after %d calls: %s", code, calls.Load(), errOut)
	}
}

// TestFollowInterrupted: a verb that is told to end does.
func TestFollowInterrupted(t *testing.T) {
	begun := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	var out bytes.Buffer
	if code := cli.Run(ctx, []string{"follow", "--url=" + s.URL}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: io.Discard}); code != cli.ExitInterrupted {
		t.Error(code)
	}
}

// TestFollowStreamsThatEnd: who is given streams that end at once says so, comes back after longer
// and longer pauses, and gives up in time, whatever little such streams say. One that is a stream
// in the end is followed to its end.
func TestFollowStreamsThatEnd(t *testing.T) {
	const event = `data: {"id":"a1/x/1","type":"request.accepted","time":"2026-01-02T03:04:05Z","data":` + doc + "}\nid: 1\n\n"
	for _, c := range []struct{ name, stream, says string }{
		{"nothing", "", "nothing came: EOF"},
		{"a comment", ":\n", "nothing came: EOF"},
		{"how to come back", "retry: 1\n\n", "nothing came: EOF"},
		{"a beginning", ":\nevent: start\ndata: {\"offset\":0}\nretry: 1\nid: 0\n\nevent: heartbeat\ndata: {\"interval\":1}\n\n", "no event came (start)"},
		{"no room", "event: busy\ndata: {\"retry\":1}\nretry: 1\n\n", "no room (busy)"},
		{"a proxy alone", "event: unavailable\ndata: {\"retry\":1}\nretry: 1\n\n", "no gateway (unavailable)"},
		{"half an event", strings.TrimSuffix(event, "\n"), "nothing came"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var opened atomic.Int32
			ends := make(chan struct{}) // closed when streams are such
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/events") {
					_, _ = io.WriteString(w, doc)
					return
				}
				opened.Add(1)
				w.Header().Set("Content-Type", "text/event-stream")
				select {
				case <-ends:
					_, _ = io.WriteString(w, event+"event: end\ndata: {}\n\n")
				default:
					_, _ = io.WriteString(w, c.stream)
				}
			}))
			t.Cleanup(s.Close)
			for _, args := range []string{"follow", "follow a1", "submit sleep --wait", "submit sleep --follow"} {
				opened.Store(0)
				code, out, errOut := verb(t, "", append(strings.Fields(args), "--url="+s.URL, "--patience=400ms")...)
				if code != cli.ExitUnreachable || out != "" {
					t.Errorf("%s ends with %d and %q", args, code, out)
				}
				if strings.Count(errOut, "hark: tried again, for up to 400ms: the stream was opened and "+c.says) > 1 || strings.Count(errOut, "\n") > 3 ||
					!strings.Contains(errOut, "hark: tried again, for up to 400ms: ") || !strings.Contains(errOut, c.says) || !strings.Contains(errOut, "there was no stream at "+s.URL+" for 400ms") {
					t.Errorf("%s says %s", args, errOut)
				}
				// At once, after 0.1 s, after 0.2 s more, each a fifth more or less.
				if n := opened.Load(); n < 1 || n > 4 {
					t.Errorf("%s opened %d streams", args, n)
				}
			}
			close(ends)
			if code, out, errOut := verb(t, "", "follow", "a1", "--url="+s.URL); code != cli.ExitEnded || !strings.Contains(out, "a1  accepted") || strings.Contains(errOut, "again") {
				t.Errorf("ends with %d: %s%s", code, out, errOut)
			}
		})
	}
}

// TestFollowComesBack: streams that end at once and then are there again cost a line, and no event;
// one that had an event is no end.
func TestFollowComesBack(t *testing.T) {
	var opened atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			_, _ = io.WriteString(w, doc)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		n := opened.Add(1)
		switch {
		case n <= 2:
		case n <= 5:
			if after := r.Header.Get("Last-Event-ID"); n > 3 && after != fmt.Sprint(n-3) {
				t.Errorf("stream %d begins behind %q", n, after)
			}
			_, _ = fmt.Fprintf(w, "data: {\"id\":\"a1/x/%d\",\"type\":\"request.progress\",\"data\":%s}\nid: %d\n\n", n-2, doc, n-2)
		default:
			_, _ = io.WriteString(w, "event: end\ndata: {}\n\n")
		}
	}))
	t.Cleanup(s.Close)
	code, out, errOut := verb(t, "", "follow", "a1", "--url="+s.URL)
	if code != cli.ExitEnded || strings.Count(out, "a1  progress") != 3 || strings.Count(errOut, "tried again") != 1 || strings.Count(errOut, "is lost, and opened again") != 3 {
		t.Errorf("ends with %d: %s%s", code, out, errOut)
	}
}

// TestKeys: a key that was made is in the file, listed without itself, and gone when it is revoked.
func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	made := make(map[string]string)
	for _, subject := range []string{"one", "two"} {
		code, out, errOut := verb(t, "", "keys", "new", subject, "--role=client,admin", "--keys="+file)
		if code != 0 || !strings.HasPrefix(out, "hark_") {
			t.Fatal(code, out, errOut)
		}
		made[subject] = strings.TrimSpace(out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	t.Setenv("HARK_KEYS", file)
	code, out, errOut := verb(t, "", "keys", "list", "--json")
	if code != 0 || strings.Contains(out, made["one"]) || strings.Count(out, "\n") != 2 {
		t.Fatal(code, out, errOut)
	}
	var first struct{ ID, Subject string }
	if err := json.Unmarshal([]byte(strings.Split(out, "\n")[0]), &first); err != nil || first.Subject != "one" {
		t.Fatal(first, err)
	}
	if code, out, errOut := verb(t, "", "keys", "revoke", first.ID); code != 0 || out != first.ID+" revoked\n" {
		t.Fatal(code, out, errOut)
	}
	if code, out, _ := verb(t, "", "keys", "list"); code != 0 || strings.Contains(out, "one") || !strings.Contains(out, "two") {
		t.Error(code, out)
	}
	if code, _, errOut := verb(t, "", "keys", "revoke", first.ID); code != cli.ExitFailed || !strings.Contains(errOut, "no key with the id") {
		t.Error(code, errOut)
	}
	if code, _, errOut := verb(t, "", "keys", "new", "x", "--role=king"); code != cli.ExitUsage || !strings.Contains(errOut, "king") {
		t.Error(code, errOut)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Error("something stays beside the file", entries, err)
	}
}

// TestComplete: what may stand at the cursor, of verbs here and elsewhere.
func TestComplete(t *testing.T) {
	grammars := map[string]any{
		"": &struct {
			Listen string `help:""`
		}{},
		"worker": &struct {
			Routes string `help:""`
			Deep   bool   `help:""`
		}{},
	}
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"re"}, "requests"},
		{[]string{"w"}, "webhooks worker"},
		{[]string{"--l"}, "--listen="},
		{[]string{"requests", ""}, "cancel delete list redrive result show"},
		{[]string{"requests", "list", "--st"}, "--status="},
		{[]string{"requests", "list", "--js"}, "--json"},
		{[]string{"worker", ""}, "--deep --help --routes="},
		{[]string{"completion", ""}, "bash fish zsh"},
		{[]string{"nothing", "--x"}, ""},
	} {
		var out bytes.Buffer
		cli.Complete(c.words, grammars, &out)
		if got := strings.Join(strings.Fields(out.String()), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
}
