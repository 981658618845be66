package blackbox_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/hub"
)

// The keys of tests, and what signs tokens.
const (
	aliceKey  = "hark_alice_0123456789"
	bobKey    = "hark_bob_0123456789abc"
	workerKey = "hark_worker_0123456789"
	adminKey  = "hark_admin_0123456789a"
	jwtSecret = "the secret that signs the tokens of tests"
)

func keyEntry(subject, roles, key string) string {
	return fmt.Sprintf("- {subject: %s, roles: [%s], key: %s}\n", subject, roles, key)
}

var allKeys = keyEntry("alice", "client", aliceKey) + keyEntry("bob", "client", bobKey) + keyEntry("worker", "processor", workerKey) + keyEntry("root", "admin", adminKey)

// startKeyed runs a gateway that asks who calls. The file holds its keys.
func startKeyed(t testing.TB, args ...string) (s *server, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, file, allKeys)
	return start(t, append([]string{"--keys=" + file, "--jwt-secret=" + jwtSecret}, args...)...), file
}

// writeKeys replaces a file of keys in one step.
func writeKeys(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// as returns the same server as somebody with a key or a token sees it.
func (s *server) as(token string) *server {
	other := *s
	client := *s.http
	client.Transport = bearer{token, s.http.Transport}
	other.http = &client
	return &other
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func (b bearer) CloseIdleConnections() {
	if idle, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
}

// token returns a token of a subject.
func token(t testing.TB, subject string, expires time.Time, roles ...string) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": subject, "exp": jwt.NewNumericDate(expires)}
	if len(roles) > 0 {
		claims["roles"] = roles
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(jwtSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestNewKeyOfTokens: a token of a key that was published a moment ago is taken, one of a key that
// is not there is refused, and while that cannot be told the caller is told to come again.
func TestNewKeyOfTokens(t *testing.T) {
	anywhere(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var names atomic.Pointer[[]string]
	names.Store(&[]string{"first"})
	var reads atomic.Int64
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reads.Add(1)
		var keys []map[string]string
		for _, name := range *names.Load() {
			keys = append(keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": name, "x": base64.RawURLEncoding.EncodeToString(public)})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	}))
	defer issuer.Close()
	s := start(t, "--jwks-url="+issuer.URL)
	defer http.DefaultClient.CloseIdleConnections()
	of := func(name string) string {
		unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
		unsigned.Header["kid"] = name
		text, err := unsigned.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	s.eventually(func() bool { return s.as(of("first")).call("GET", "/v1/requests", nil).status == 200 })
	names.Store(&[]string{"first", "second"})
	s.as(of("second")).call("GET", "/v1/requests", nil).want(200)
	before, later := reads.Load(), 0
	for n := range 20 {
		name := fmt.Sprint("made up ", n)
		switch a := s.as(of(name)).call("GET", "/v1/requests", nil); a.status {
		case 401:
			a.problem(401, "unauthenticated")
		default:
			later++
			if a.problem(503, "unavailable"); a.header.Get("Retry-After") == "" {
				t.Errorf("%v", a.header)
			}
		}
	}
	if n := reads.Load() - before; n > 3 || later < 20-4 {
		t.Errorf("%d reads, %d were told to come again", n, later)
	}
	s.as(of("second")).call("GET", "/v1/requests", nil).want(200)
}

// TestOwners: nobody sees, follows, changes or hears of what is another's; an admin does.
func TestOwners(t *testing.T) {
	s, _ := startKeyed(t, "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	alice, bob, worker, admin := s.as(aliceKey), s.as(bobKey), s.as(workerKey), s.as(adminKey)
	id := alice.submit("default", 1, "topic=secret")
	path := "/v1/requests/" + id
	worker.call("POST", "/v1/work/"+id+"/start", nil).want(200)
	bob.call("GET", path, nil).problem(404, "request-not-found")
	bob.call("GET", path+"/result", nil).problem(404, "request-not-found")
	bob.call("GET", path+"/events", nil, "Accept: application/json").problem(404, "request-not-found")
	bob.call("GET", path+"/events", nil, "Accept: text/event-stream").problem(404, "request-not-found")
	bob.call("POST", path+"/cancel", nil).problem(404, "request-not-found")
	bob.call("DELETE", path, nil).problem(404, "request-not-found")
	bob.call("POST", "/v1/requests", `{"id":"`+id+`","content":1,"topic":"secret"}`, async).problem(409, "id-taken")
	for _, feed := range []string{"/v1/events", "/v1/topics/secret/events"} {
		if doc := bob.call("GET", feed+"?after=0", nil, "Accept: application/json").want(200).json(); len(doc["events"].([]any)) != 0 {
			t.Errorf("%s of somebody else: %v", feed, doc)
		}
		if doc := alice.call("GET", feed+"?after=0", nil, "Accept: application/json").want(200).json(); len(doc["events"].([]any)) != 2 {
			t.Errorf("%s: %v", feed, doc)
		}
	}
	if doc := bob.call("GET", "/v1/requests", nil).want(200).json(); len(doc["requests"].([]any)) != 0 {
		t.Errorf("listed: %v", doc)
	}
	worker.call("PUT", "/v1/work/"+id+"/error", `{"message":"no","trace":"at line 1"}`).want(200)
	failure := func(s *server) map[string]any {
		return s.call("GET", path, nil).want(200).json()["error"].(map[string]any)
	}
	if _, told := failure(alice)["trace"]; told {
		t.Error("the owner sees the trace")
	}
	if f := failure(admin); f["trace"] != "at line 1" {
		t.Errorf("an admin sees %v", f)
	}

	// A key of one is not that of another, and no token is another's by its name.
	first := alice.call("POST", "/v1/requests", `{"content":"a"}`, async, "Idempotency-Key: k").want(202).json()
	second := bob.call("POST", "/v1/requests", `{"content":"b"}`, async, "Idempotency-Key: k").want(202).json()
	if first["id"] == second["id"] {
		t.Error("two callers share an idempotency key")
	}
	byToken := s.as(token(t, "alice", time.Now().Add(time.Minute)))
	if doc := byToken.call("GET", path, nil).want(200).json(); doc["id"] != id {
		t.Errorf("%v", doc)
	}
	mine := alice.call("POST", "/v1/webhooks", `{"url":"http://127.0.0.1:9/hook"}`).want(201).json()["id"].(string)
	bob.call("GET", "/v1/webhooks/"+mine, nil).problem(404, "webhook-not-found")
	bob.call("DELETE", "/v1/webhooks/"+mine, nil).problem(404, "webhook-not-found")
	// An admin reaches it by its id, in each call about one, and the list of its owner.
	hook := "/v1/webhooks/" + mine
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", hook, "", 200},
		{"PATCH", hook, `{"description":"seen by an admin"}`, 200},
		{"POST", hook + "/rotate", "", 200},
		{"POST", hook + "/pause", "", 200},
		{"POST", hook + "/resume", "", 200},
		{"POST", hook + "/verify", "", 200},
		{"POST", hook + "/test", "", 202},
		{"POST", hook + "/recover?since=2020-01-01T00:00:00Z", "", 202},
		{"GET", hook + "/deliveries", "", 200},
		{"GET", "/v1/webhooks?owner=alice", "", 200},
		{"DELETE", hook, "", 204},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		denied := bob.call(c.method, c.path, body)
		if c.path == "/v1/webhooks?owner=alice" {
			denied.problem(403, "forbidden")
		} else {
			denied.problem(404, "webhook-not-found")
		}
		a := admin.call(c.method, c.path, body).want(c.status)
		if c.status == 200 && !strings.Contains(string(a.body), mine) && !strings.HasSuffix(c.path, "/deliveries") {
			t.Errorf("%s %s: %s", c.method, c.path, a.body)
		}
	}
	admin.call("GET", hook, nil).problem(404, "webhook-not-found")
	admin.call("DELETE", path, nil).want(204)
}

// TestTakenIDs: what is told of an id that is taken is the same, whoever has it, also with what its
// owner has sent.
func TestTakenIDs(t *testing.T) {
	s, _ := startKeyed(t)
	alice, bob := s.as(aliceKey), s.as(bobKey)
	alice.call("POST", "/v1/requests", `{"id":"alices","content":1}`, async).want(202)
	bob.call("POST", "/v1/requests", `{"id":"bobs","content":1}`, async).want(202)
	for name, of := range map[string]func(id string) string{
		"request": func(id string) string { return `{"id":"` + id + `","content":%s}` },
		"batch":   func(id string) string { return `{"requests":[{"id":"` + id + `","content":%s}]}` },
	} {
		path := map[string]string{"request": "/v1/requests", "batch": "/v1/batches"}[name]
		own := bob.call("POST", path, strings.Replace(of("bobs"), "%s", "2", 1), async)
		own.problem(409, "id-taken")
		for _, content := range []string{"1", "2"} {
			foreign := bob.call("POST", path, strings.Replace(of("alices"), "%s", content, 1), async, "Idempotency-Key: "+name+content)
			if foreign.status != own.status || string(foreign.body) != string(own.body) {
				t.Errorf("%s: another's id is answered with %s, an own one with %s", name, foreign.body, own.body)
			}
		}
	}
}

// links returns the links of a status document by their names.
func links(doc map[string]any) map[string]string {
	found := make(map[string]string)
	for _, link := range doc["links"].([]any) {
		l := link.(map[string]any)
		found[l["rel"].(string)] = l["href"].(string)
	}
	return found
}

// TestTickets: with a ticket somebody who can send no header follows one request, and does nothing
// else.
func TestTickets(t *testing.T) {
	s, _ := startKeyed(t)
	alice := s.as(aliceKey)
	id, other := alice.submit("default", 1), alice.submit("default", 2)
	path := "/v1/requests/" + id
	if l := links(alice.call("GET", path, nil).want(200).json()); strings.Contains(l["events"]+l["socket"], "ticket") {
		t.Errorf("a ticket that nobody asked for: %v", l)
	}
	alice.call("GET", path+"?ticket=yes", nil).problem(422, "invalid-request")
	answer := alice.call("GET", path+"?ticket=true", nil, `If-None-Match: W/"1"`).want(200)
	if answer.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a ticket may be kept: %v", answer.header)
	}
	l := links(answer.json())
	events, _ := url.Parse(l["events"])
	ticket := events.Query().Get("ticket")
	if ticket == "" || events.Path != path+"/events" || !strings.HasSuffix(l["socket"], "&ticket="+ticket) || strings.Contains(l["self"]+l["result"]+l["cancel"], "ticket") {
		t.Fatalf("links %v", l)
	}

	stream := s.stream(l["events"])
	if stream.res.StatusCode != 200 {
		t.Fatal(stream.res.Status)
	}
	ws := dial(t, s, l["socket"])
	ws.want("subscribed")
	ws.want("event")
	ws.say(`{"op":"subscribe","channel":"request:` + other + `"}`)
	ws.problem("request-not-found")
	ws.say(`{"op":"subscribe","channel":"owner"}`)
	ws.problem("channel-not-found")
	s.as(workerKey).process(id)
	if got := fmt.Sprint(stream.rest()); got != "[1:accepted 2:started 3:progress 4:succeeded end]" {
		t.Error(got)
	}
	s.call("GET", l["events"]+"&lastEventId=4", nil, "Accept: text/event-stream").want(204)

	for _, not := range []string{
		path, path + "/result", "/v1/requests/" + other + "/events", "/v1/events", "/v1/requests", "/v1/topics/x/events", "/v1/webhooks",
	} {
		if a := s.call("GET", not+"?ticket="+ticket, nil); a.status != 401 && a.status != 404 {
			t.Errorf("GET %s with a ticket: %d", not, a.status)
		}
		s.as(ticket).call("GET", not, nil).problem(401, "unauthenticated")
	}
	s.call("GET", path+"/events?ticket="+ticket[:len(ticket)-2]+"AA", nil).problem(401, "unauthenticated")

	// With the submission, and with its repetition; what is stored of the answer has no ticket in
	// it.
	submit := func(query string) map[string]string {
		return links(alice.call("POST", "/v1/requests"+query, `{"content":{"href":"/v1/ws"}}`, async, "Idempotency-Key: t").want(202).json())
	}
	for _, l := range []map[string]string{submit("?ticket=true"), submit("?ticket=true")} {
		ws := dial(t, s, l["socket"])
		ws.want("subscribed")
	}
	if l := submit(""); strings.Contains(l["events"], "ticket") {
		t.Errorf("%v", l)
	}
	if !strings.Contains(fmt.Sprint(links(alice.call("POST", "/v1/requests?ticket=true&id=raw", []byte("bytes"), async, "Content-Type: text/plain").want(202).json())), "ticket=") {
		t.Error("bytes get no ticket")
	}
}

// TestTicketsLetComeBack: an EventSource comes back by itself, to the URL that it has, however old
// the ticket in it is. So a ticket that is too old to begin with is taken with a cursor, until its
// request is gone, and no longer than what it rests on.
func TestTicketsLetComeBack(t *testing.T) {
	s, file := startKeyed(t, "--ticket-life=3s") // in whole seconds: at least two
	alice := s.as(aliceKey)
	id, gone := alice.submit("default", 1), alice.submit("default", 2)
	ticketed := func(s *server, id string) map[string]string {
		return links(s.call("GET", "/v1/requests/"+id+"?ticket=true", nil).want(200).json())
	}
	ends := time.Now().Add(8 * time.Second).Truncate(time.Second)
	l, short, ofGone := ticketed(alice, id), ticketed(s.as(token(t, "alice", ends)), id), ticketed(alice, gone)
	began, byToken := s.stream(l["events"]), s.stream(short["events"])
	for _, st := range []*stream{began, byToken} {
		if e := st.next(); e.id != "1" {
			t.Errorf("%+v", e)
		}
	}
	stale := func(link string) bool {
		a := s.call("GET", link, nil, "Accept: application/json")
		return a.status == 401 && strings.Contains(a.header.Get("WWW-Authenticate"), "The ticket has expired.")
	}
	for deadline := time.Now().Add(3 * time.Minute); !stale(l["events"]) || !stale(short["events"]); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the tickets do not expire")
		}
	}
	s.call("GET", l["events"], nil, "Accept: text/event-stream").problem(401, "unauthenticated")
	for _, link := range []map[string]string{l, short} {
		for name, st := range map[string]*stream{
			"header":      s.stream(link["events"], "Last-Event-ID: 1"),
			"query":       s.stream(link["events"] + "&lastEventId=1"),
			"other query": s.stream(link["events"] + "&last_event_id=1"),
			"after":       s.stream(link["events"] + "&after=1"),
		} {
			if st.res.StatusCode != 200 {
				t.Errorf("by %s: %s", name, st.res.Status)
			}
		}
		ws := dial(t, s, link["socket"]+"&after=1")
		ws.want("subscribed")
		for _, path := range []string{
			link["socket"],
			"/v1/ws?channel=owner&after=1&ticket=" + link["socket"][strings.LastIndex(link["socket"], "=")+1:],
			"/v1/ws?channel=request:" + gone + "&after=1&ticket=" + link["socket"][strings.LastIndex(link["socket"], "=")+1:],
		} {
			ws := dial(t, s, path)
			ws.problem("unauthenticated")
			ws.closed(hub.CloseExpired)
		}
	}
	_ = began.res.Body.Close() // cut
	s.as(workerKey).process(id)
	if got := strings.Join(s.stream(l["events"], "Last-Event-ID: 1").rest(), " "); got != "2:started 3:progress 4:succeeded end" {
		t.Errorf("back: %s", got)
	}
	s.call("GET", l["events"], nil, "Accept: text/event-stream", "Last-Event-ID: 4").want(204)
	for _, other := range []string{"/v1/requests/" + gone + "/events", "/v1/events"} {
		_, query, _ := strings.Cut(l["events"], "?")
		if a := s.call("GET", other+"?"+query, nil, "Accept: text/event-stream", "Last-Event-ID: 1"); a.status != 401 && a.status != 404 {
			t.Errorf("%s: %d", other, a.status)
		}
	}

	// Until the request is gone, its token has expired, or its key is revoked.
	alice.call("POST", "/v1/requests/"+gone+"/cancel", nil).want(200)
	alice.call("DELETE", "/v1/requests/"+gone, nil).want(204)
	s.call("GET", ofGone["events"], nil, "Accept: text/event-stream", "Last-Event-ID: 1").problem(404, "request-not-found")
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if a := s.call("GET", short["events"], nil, "Accept: text/event-stream", "Last-Event-ID: 4"); a.status == 401 && !time.Now().Before(ends) {
			break
		} else if a.status != 204 || time.Now().After(deadline) {
			t.Fatalf("with what rests on a token until %v: %d", ends, a.status)
		}
	}
	writeKeys(t, file, keyEntry("bob", "client", bobKey))
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		a := s.call("GET", l["events"], nil, "Accept: text/event-stream", "Last-Event-ID: 4")
		if a.status == 401 && strings.Contains(a.header.Get("WWW-Authenticate"), "revoked") {
			break
		}
		if a.status != 204 || time.Now().After(deadline) {
			t.Fatalf("with what rests on a revoked key: %d", a.status)
		}
	}
}

// TestTicketsOfAnOpenGateway are made, too, so that a page need not know which kind of gateway it
// has.
func TestTicketsOfAnOpenGateway(t *testing.T) {
	s := start(t)
	id := s.submit("default", 1)
	l := links(s.call("GET", "/v1/requests/"+id+"?ticket=true", nil).want(200).json())
	s.process(id)
	if got := s.stream(l["events"]).rest(); len(got) != 5 {
		t.Errorf("%v", got)
	}
	s.call("GET", "/v1/requests/"+id+"/events?ticket=x.y.z", nil).problem(401, "unauthenticated")
}

// socketConn is a WebSocket of a test.
type socketConn struct {
	t testing.TB
	*websocket.Conn
}

// dial opens a WebSocket with further subprotocols.
func dial(t testing.TB, s *server, path string, protocols ...string) *socketConn {
	t.Helper()
	c, res, err := dialTry(s, path, nil, protocols...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Sec-WebSocket-Protocol") != hub.Subprotocol {
		t.Errorf("the gateway speaks %q", res.Header.Get("Sec-WebSocket-Protocol"))
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Minute))
	return &socketConn{t, c}
}

func dialTry(s *server, path string, header http.Header, protocols ...string) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{Subprotocols: append([]string{hub.Subprotocol}, protocols...)}
	return dialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+path, header)
}

func (c *socketConn) say(text string) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the next message, or the code with which the connection was closed.
func (c *socketConn) receive() (map[string]any, int) {
	c.t.Helper()
	var m map[string]any
	err := c.ReadJSON(&m)
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return nil, closed.Code
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return m, 0
}

func (c *socketConn) want(op string) map[string]any {
	c.t.Helper()
	m, code := c.receive()
	if m["op"] != op {
		c.t.Fatalf("received %v (closed %d), want %s", m, code, op)
	}
	return m
}

func (c *socketConn) problem(name string) {
	c.t.Helper()
	if p := c.want("error")["problem"].(map[string]any); p["type"] != "/problems/"+name {
		c.t.Errorf("problem %v, want %s", p, name)
	}
}

func (c *socketConn) closed(code hub.CloseCode) {
	c.t.Helper()
	if m, got := c.receive(); got != int(code) {
		c.t.Errorf("received %v, closed with %d, want %d", m, got, code)
	}
}

// TestSocketAsksWhoCalls: by a header, in the list of subprotocols, or by the first message.
func TestSocketAsksWhoCalls(t *testing.T) {
	s, _ := startKeyed(t)
	alice := s.as(aliceKey)
	id := alice.submit("default", 1)
	path := "/v1/ws?channel=request:" + id
	header := func(value string) http.Header { return http.Header{"Authorization": {value}} }
	if c, _, err := dialTry(s, path, header("Bearer "+aliceKey)); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	for _, proof := range []string{aliceKey, token(t, "alice", time.Now().Add(time.Hour))} {
		for _, protocol := range []string{"bearer." + proof, proof} {
			ws := dial(t, s, path, "other.v2", protocol)
			ws.want("subscribed")
		}
		first := dial(t, s, path+"&channel=owner")
		first.say(`{"op":"subscribe","channel":"request:` + id + `"}`)
		first.problem("unauthenticated")
		first.say(`{"op":"auth","token":"` + proof + `"}`)
		first.want("authenticated")
		first.want("subscribed")
		first.want("event")
		first.want("subscribed")
	}
	// A page cannot see the status of a handshake: who speaks the protocol is told in it, others by
	// HTTP.
	late := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		proof  string // in the Authorization, or in the list of subprotocols
		ticket string
		status int
		code   hub.CloseCode
		told   string
	}{
		"a wrong key":      {proof: "hark_nobody_0123456789", status: 401, code: hub.CloseUnauthenticated, told: "unauthenticated"},
		"a wrong token":    {proof: "a.b.c", status: 401, code: hub.CloseUnauthenticated, told: "unauthenticated"},
		"an expired token": {proof: token(t, "alice", late), status: 401, code: hub.CloseExpired, told: "unauthenticated"},
		"a wrong ticket":   {ticket: "x", status: 401, code: hub.CloseUnauthenticated, told: "unauthenticated"},
		"no client":        {proof: workerKey, status: 403, code: hub.ClosePolicy, told: "forbidden"},
		"no role":          {proof: token(t, "x", time.Now().Add(time.Minute), "auditor"), status: 403, code: hub.ClosePolicy, told: "forbidden"},
	} {
		path := path
		if c.ticket != "" {
			path += "&ticket=" + c.ticket
		}
		var handshakes []func(protocols ...string) (*websocket.Conn, *http.Response, error)
		dialer := func(header http.Header, more ...string) {
			handshakes = append(handshakes, func(protocols ...string) (*websocket.Conn, *http.Response, error) {
				d := websocket.Dialer{Subprotocols: append(protocols, more...)}
				return d.Dial("ws"+strings.TrimPrefix(s.url, "http")+path, header)
			})
		}
		if c.proof == "" {
			dialer(nil)
		} else {
			dialer(header("Bearer " + c.proof))
			dialer(nil, "bearer."+c.proof)
		}
		for i, handshake := range handshakes {
			conn, res, err := handshake("other.v2", hub.Subprotocol)
			if err != nil {
				t.Errorf("%s %d: %v %v", name, i, res, err)
				continue
			}
			_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
			ws := &socketConn{t, conn}
			ws.problem(c.told)
			ws.closed(c.code)
			_ = conn.Close()
			for _, other := range [][]string{nil, {"other.v2"}} {
				conn, res, err := handshake(other...)
				if err == nil || res == nil || res.StatusCode != c.status || res.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %d, speaking %q: %v %v", name, i, other, res, err)
				}
				if conn != nil {
					_ = conn.Close()
				}
			}
		}
	}
	if conn, res, err := dialTry(s, path, header("Basic YTpi")); err != nil {
		t.Errorf("another scheme: %v, %v", res, err)
	} else {
		ws := &socketConn{t, conn}
		ws.problem("unauthenticated")
		ws.closed(hub.CloseUnauthenticated)
		_ = conn.Close()
	}
	for wrong, code := range map[string]hub.CloseCode{
		"": hub.CloseUnauthenticated, "hark_nobody_0123456789": hub.CloseUnauthenticated, workerKey: hub.ClosePolicy, token(t, "alice", late): hub.CloseExpired,
	} {
		ws := dial(t, s, path)
		ws.say(`{"op":"auth","token":"` + wrong + `"}`)
		ws.want("error")
		ws.closed(code)
	}
	stranger := dial(t, s, path, "bearer."+bobKey)
	stranger.problem("request-not-found")
	stranger.say(`{"op":"auth","token":"` + aliceKey + `"}`)
	stranger.problem("forbidden")
	stranger.say(`{"op":"ping"}`)
	stranger.want("pong")
}

// TestConnectionsEndWithTheirToken, or live on with a newer one; an EventSource that comes back is
// told to stay away.
func TestConnectionsEndWithTheirToken(t *testing.T) {
	anywhere(t)
	s, _ := startKeyed(t)
	expires := time.Now().Add(3 * time.Second).Truncate(time.Second)
	short := token(t, "alice", expires)
	id := s.as(short).submit("default", 1)
	path := "/v1/requests/" + id
	stream := s.as(short).stream(path + "/events")
	byTicket := s.stream(links(s.as(short).call("GET", path+"?ticket=true", nil).want(200).json())["events"])
	ends, stays := dial(t, s, "/v1/ws", "bearer."+short), dial(t, s, "/v1/ws")
	stays.say(`{"op":"auth","token":"` + short + `"}`)
	if m := stays.want("authenticated"); m["expires"] != expires.UTC().Format(time.RFC3339) {
		t.Errorf("%v, want %v", m, expires)
	}
	stays.say(`{"op":"auth","token":"` + token(t, "alice", time.Now().Add(time.Hour)) + `"}`)
	stays.want("authenticated")
	ends.closed(hub.CloseExpired)
	for _, st := range []interface{ rest() []string }{stream, byTicket} {
		if got := strings.Join(st.rest(), " "); got != "1:accepted unauthenticated" {
			t.Error(got)
		}
	}
	if time.Now().Before(expires) {
		t.Error("closed too early")
	}
	s.as(short).call("GET", path+"/events", nil, "Accept: text/event-stream").problem(401, "unauthenticated")
	stays.say(`{"op":"subscribe","channel":"request:` + id + `"}`)
	stays.want("subscribed")
}

// TestRevokedKey: when a key goes from the file its calls are refused and its connections closed;
// others notice nothing.
func TestRevokedKey(t *testing.T) {
	s, file := startKeyed(t, "--max-wait=1m") // and a heartbeat that is far away
	alice, worker := s.as(aliceKey), s.as(workerKey)
	id := alice.submit("default", 1)
	path := "/v1/requests/" + id
	ticket := links(alice.call("GET", path+"?ticket=true", nil).want(200).json())
	gone, feed, byTicket := alice.stream(path+"/events"), alice.stream("/v1/events"), s.stream(ticket["events"])
	goneToo := dial(t, s, "/v1/ws", "bearer."+aliceKey)
	first := dial(t, s, "/v1/ws")
	first.say(`{"op":"auth","token":"` + aliceKey + `"}`)
	first.want("authenticated")
	stays := dial(t, s, "/v1/ws", "bearer."+bobKey)
	var held sync.WaitGroup
	hold := func(status int, as *server, method, path string, body any, headers ...string) {
		held.Go(func() {
			a, err := as.try(method, path, body, headers...)
			if err != nil || a.status != status || status == 401 && !strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_token") {
				t.Errorf("%s %s: %v, %d %s", method, path, err, a.status, a.body)
			}
		})
	}
	hold(401, alice, "GET", path, nil, "Prefer: wait=50")
	// It was accepted, and must not be made again.
	hold(202, alice, "POST", "/v1/requests", `{"content":1,"id":"waits"}`)
	hold(202, alice, "GET", "/v1/call/default/waits", nil)
	hold(401, worker, "POST", "/v1/work/lease", `{"routes":["images"],"wait":50}`)
	s.eventually(func() bool {
		known := s.as(adminKey).call("GET", "/v1/requests/waits", nil).status == 200
		return known && strings.Contains(string(s.call("GET", "/metrics", nil).want(200).body), "hark_lease_calls 1")
	})
	writeKeys(t, file, keyEntry("bob", "client", bobKey))
	began := time.Now()
	feed.rest()
	byTicket.rest()
	first.closed(hub.CloseExpired)
	held.Wait()
	took := time.Since(began)
	t.Logf("all has ended after %v", took)
	if took > 10*time.Second { // two, on a machine that has nothing else to do
		t.Error("that is late")
	}
	if got := strings.Join(gone.rest(), " "); got != "1:accepted unauthenticated" {
		t.Error(got)
	}
	goneToo.closed(hub.CloseExpired)
	s.as(aliceKey).call("GET", "/v1/requests/"+id, nil).problem(401, "unauthenticated")
	stays.say(`{"op":"ping"}`)
	stays.want("pong")
}

// TestTicketOfAnotherNode: nodes of one store take each other's tickets.
func TestTicketOfAnotherNode(t *testing.T) {
	if !onServers() {
		t.Skip("one node has the embedded store for itself")
	}
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "keys.yaml")
	writeKeys(t, file, allKeys)
	one, two := startOn(t, data, "--keys="+file), startOn(t, data, "--keys="+file)
	id := one.as(aliceKey).submit("default", 1)
	l := links(one.as(aliceKey).call("GET", "/v1/requests/"+id+"?ticket=true", nil).want(200).json())
	one.as(workerKey).process(id)
	if got := two.stream(l["events"]).rest(); len(got) != 5 {
		t.Errorf("%v", got)
	}
}
