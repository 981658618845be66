package blackbox_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/hark-push/hark/gateway/api"
	"github.com/hark-push/hark/gateway/misuse"
	"github.com/hark-push/hark/hub"
)

// proof is what somebody shows of who it is.
type proof struct {
	name   string
	key    func(r *rights) string // in the Authorization
	ticket func(r *rights) string // in the query, instead of a key
	who    caller
}

// caller is who that is.
type caller int

const (
	nobody   caller = iota
	wrong           // what is shown is not taken
	roleless        // a token without a role that there is
	stranger        // a client, who owns none of what is there
	owner
	worker
	admin
	holder    // of a ticket for the request
	bystander // of a ticket for another one
)

// proofs are the columns of the matrix.
var proofs = []proof{
	{name: "no key", who: nobody},
	{name: "wrong key", key: fixed("hark_nobody_0123456789"), who: wrong},
	{name: "wrong token", key: fixed("a.b.c"), who: wrong},
	{name: "no algorithm", key: signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, time.Hour), who: wrong},
	{name: "other secret", key: signed(jwt.SigningMethodHS256, []byte("a secret that signs no token of this gateway"), time.Hour), who: wrong},
	{name: "expired", key: signed(jwt.SigningMethodHS256, []byte(jwtSecret), -time.Minute), who: wrong},
	{name: "ticket as key", key: func(r *rights) string { return r.ticket }, who: wrong},
	{name: "no role", key: func(r *rights) string { return token(r.t, "alice", time.Now().Add(time.Hour), "auditor") }, who: roleless},
	{name: "worker", key: fixed(workerKey), who: worker},
	{name: "other owner", key: fixed(bobKey), who: stranger},
	{name: "other's token", key: func(r *rights) string { return token(r.t, "bob", time.Now().Add(time.Hour)) }, who: stranger},
	{name: "owner", key: fixed(aliceKey), who: owner},
	{name: "owner's token", key: func(r *rights) string { return token(r.t, "alice", time.Now().Add(time.Hour)) }, who: owner},
	{name: "admin", key: fixed(adminKey), who: admin},
	{name: "ticket", ticket: func(r *rights) string { return r.ticket }, who: holder},
	{name: "other ticket", ticket: func(r *rights) string { return r.otherTicket }, who: bystander},
}

func fixed(key string) func(*rights) string { return func(*rights) string { return key } }

func signed(method jwt.SigningMethod, secret any, life time.Duration) func(*rights) string {
	return func(r *rights) string {
		text, err := jwt.NewWithClaims(method, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(life).Unix()}).SignedString(secret)
		if err != nil {
			r.t.Fatal(err)
		}
		return text
	}
}

// marker stands in everything of alice's.
const marker = "for-nobody-but-alice"

// rights is a gateway, and what is there of one owner's.
type rights struct {
	*server
	shared              misuse.There // for calls that change nothing
	ticket, otherTicket string
	pending             string // the request of the ticket
	secrets             []string
}

// TestRights prints with -v who may call what: each operation of the document of the interface,
// with each kind of proof. Nobody gets in without one, or with one that is not taken; nobody
// without the role; nobody reaches what is another's, or sees a byte of it; a ticket follows its
// request and does nothing else; and who has the right is served. An operation that is new to the
// document is one of the rows, and fails here until it is known whose it is.
func TestRights(t *testing.T) {
	anywhere(t)
	s, _ := startKeyed(t, "--samples=false", "--routes=default,images,fetch,sleep,echo", "--max-wait=50ms", "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	r := &rights{server: s}
	r.shared = r.make("")
	r.pending, r.ticket = r.shared.Request, r.newTicket(r.shared.Request)
	r.otherTicket = r.newTicket(s.as(aliceKey).submit("default", marker))
	operations, err := misuse.Operations(api.OpenAPI, r.shared)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n%-62s", "")
	for _, p := range proofs {
		fmt.Fprintf(&table, " %13s", p.name)
	}
	calls := 0
	for _, op := range operations {
		fmt.Fprintf(&table, "\n%-62s", op.Method+" "+op.Path)
		for _, p := range proofs {
			want := wanted(op, p.who)
			got := r.call(op, p, want)
			calls++
			fmt.Fprintf(&table, " %13s", got)
			if !strings.Contains(" "+want+" ", " "+got+" ") {
				t.Errorf("%s %s with %s: %s, want %s", op.Method, op.Path, p.name, got, want)
			}
		}
	}
	t.Logf("%s\n%d operations, %d calls", table.String(), len(operations), calls)
	if len(operations) < 40 {
		t.Errorf("only %d operations", len(operations))
	}
	// Nothing of what was refused has been done.
	doc := s.as(aliceKey).call("GET", "/v1/requests/"+r.shared.Request, nil).want(200).json()
	if doc["status"] != "pending" || doc["attempt"] != 0.0 {
		t.Errorf("%v", doc)
	}
	s.as(aliceKey).call("GET", "/v1/webhooks/"+r.shared.Webhook, nil).want(200)
}

// wanted returns the outcomes that are right, of which "served" is any that tells of success.
func wanted(op *misuse.Operation, who caller) string {
	if !strings.HasPrefix(op.Path, "/v1/") {
		return "served"
	}
	work := strings.HasPrefix(op.Path, "/v1/work/") || op.Path == "/v1/health"
	follows := op.Path == "/v1/requests/{id}/events" || op.Path == "/v1/requests/{id}/history"
	socket := op.Path == "/v1/ws"
	// What is of everybody.
	all := strings.HasPrefix(op.Path, "/v1/dead") || strings.HasPrefix(op.Path, "/v1/routes") || op.Path == "/v1/nodes" || op.Path == "/v1/requests/{id}/redrive"
	streams := strings.HasPrefix(op.Path, "/v1/stream/")
	names := strings.Contains(op.Path, "{id}") || strings.Contains(op.Path, "{webhook}")
	switch {
	case who == nobody && socket: // it may show it in its first message, and does nothing before
		return "asks"
	case who == nobody || who == wrong:
		return "401"
	case who == holder && (follows || socket):
		return "served"
	case who == bystander && socket:
		return "no-request 401"
	case who == bystander && follows:
		return "401 404"
	case who == holder || who == bystander:
		return "401"
	case who == roleless:
		return "403"
	case streams && (who == stranger || who == admin): // each has paths of its own
		return map[bool]string{false: "404", true: "served"}[op.Method == "PUT"]
	case who == admin || who == worker && work || who == owner && !work && !all:
		return "served"
	case who == worker || work || all:
		return "403"
	case socket:
		return "no-request"
	case names:
		return "404"
	}
	return "served" // with what is its own
}

// call makes the call and says what came of it.
func (r *rights) call(op *misuse.Operation, p proof, want string) string {
	r.t.Helper()
	there := r.shared
	if want == "served" && p.who != stranger && p.who != holder && strings.HasPrefix(op.Path, "/v1/") {
		there = r.make(op.Method + " " + op.Path)
		defer r.as(aliceKey).call("DELETE", "/v1/webhooks/"+there.Webhook, nil)
	}
	target, err := op.At(there)
	if err != nil {
		r.t.Fatal(err)
	}
	header := http.Header{"Prefer": {"respond-async"}}
	if p.key != nil {
		header.Set("Authorization", "Bearer "+p.key(r))
	}
	if op.Path == "/v1/ws" {
		return r.talk(target+"?channel=request:"+there.Request, header, p)
	}
	if p.ticket != nil && strings.HasPrefix(op.Path, "/v1/") {
		target += map[bool]string{false: "?", true: "&"}[strings.Contains(target, "?")] + "ticket=" + p.ticket(r)
	}
	body := op.Body()
	if text, ok := map[string]string{"submitRequest": `{"content":1}`, "submitBatch": `{"requests":[{"content":1}]}`, "createStream": `["` + marker + `"]`, "appendStream": "1", "putResult": `"` + marker + `"`}[op.ID]; ok {
		body = []byte(text)
	}
	request, _ := http.NewRequest(op.Method, r.url+target, bytes.NewReader(body))
	request.Header = header
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	res, err := r.http.Do(request)
	if err != nil {
		r.t.Fatalf("%s %s with %s: %v", op.Method, op.Path, p.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	r.challenged(op, p, res)
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return "served"
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.discreet(op, p, target, text)
	if res.StatusCode < 300 {
		return "served"
	}
	return fmt.Sprint(res.StatusCode)
}

// challenged checks how a refusal says what to show (RFC 6750, section 3).
func (r *rights) challenged(op *misuse.Operation, p proof, res *http.Response) {
	r.t.Helper()
	challenge, want := res.Header.Get("WWW-Authenticate"), `Bearer realm="hark"`
	switch {
	case res.StatusCode == http.StatusForbidden:
		want += `, error="insufficient_scope"`
	case res.StatusCode != http.StatusUnauthorized:
		want = ""
	case p.who == nobody || p.ticket != nil && !strings.Contains(challenge, "error="):
	default:
		want += `, error="invalid_token"`
	}
	if !strings.HasPrefix(challenge, want) || want == "" && challenge != "" {
		r.t.Errorf("%s %s with %s: challenged with %q, want %q", op.Method, op.Path, p.name, challenge, want)
	}
}

// discreet checks that an answer to somebody else holds nothing of alice's but what the call named
// itself.
func (r *rights) discreet(op *misuse.Operation, p proof, target string, text []byte) {
	r.t.Helper()
	if p.who == owner || p.who == admin || p.who == holder || p.who == worker && strings.HasPrefix(op.Path, "/v1/work/") {
		return
	}
	for _, secret := range r.secrets {
		if bytes.Contains(text, []byte(secret)) && !strings.Contains(target, secret) {
			r.t.Errorf("%s %s with %s tells of %s: %.300s", op.Method, op.Path, p.name, secret, text)
		}
	}
}

// talk opens a WebSocket that follows a request and says what it is told first.
func (r *rights) talk(target string, header http.Header, p proof) string {
	if p.ticket != nil {
		target += "&ticket=" + p.ticket(r)
	}
	header.Del("Prefer")
	// A client that does not offer hark.v1 is refused by HTTP, see TestSocketAsksWhoCalls for the
	// others.
	c, res, err := new(websocket.Dialer).Dial("ws"+strings.TrimPrefix(r.url, "http")+target, header)
	if err != nil {
		if res == nil {
			r.t.Fatal(err)
		}
		return fmt.Sprint(res.StatusCode)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Minute))
	ws := &socketConn{r.t, c}
	if p.who == nobody {
		ws.say(`{"op":"subscribe","channel":"request:` + r.pending + `"}`)
	}
	m, code := ws.receive()
	switch m["op"] {
	case "subscribed":
		return "served"
	case "error":
		name := strings.TrimPrefix(fmt.Sprint(m["problem"].(map[string]any)["type"]), "/problems/")
		return map[string]string{"request-not-found": "no-request"}[name] + map[string]string{"unauthenticated": "asks"}[name]
	}
	return fmt.Sprint(m, hub.CloseCode(code))
}

func (r *rights) newTicket(id string) string {
	r.t.Helper()
	events := links(r.as(aliceKey).call("GET", "/v1/requests/"+id+"?ticket=true", nil).want(200).json())["events"]
	_, ticket, _ := strings.Cut(events, "ticket=")
	return ticket
}

// make makes one of everything of alice's, so that a call of that operation succeeds.
func (r *rights) make(operation string) misuse.There {
	r.t.Helper()
	alice, processor := r.as(aliceKey), r.as(workerKey)
	end := func(id string) {
		processor.call("POST", "/v1/work/"+id+"/start", nil).want(200)
		processor.call("PUT", "/v1/work/"+id+"/result", `"`+marker+`"`).want(200)
	}
	hook := alice.call("POST", "/v1/webhooks", `{"url":"http://127.0.0.1:9/`+marker+`","description":"`+marker+`"}`).want(201).json()["id"].(string)
	alice.call("POST", "/v1/webhooks/"+hook+"/pause", nil).want(200)
	there := misuse.There{
		URL:     "http://127.0.0.1:9/",
		Request: alice.submit("default", marker, "topic=t"), Ended: alice.submit("default", marker, "topic=t"), Webhook: hook,
		Batch: alice.call("POST", "/v1/batches", `{"requests":[{"content":"`+marker+`"}]}`).want(202).json()["id"].(string),
	}
	end(there.Ended)
	there.Stream = marker + "/" + there.Ended
	alice.call("PUT", "/v1/stream/"+there.Stream, `["`+marker+`"]`).want(201)
	switch method, path, _ := strings.Cut(operation, " "); {
	case method == "DELETE" && path == "/v1/requests/{id}":
		end(there.Request)
	case strings.HasPrefix(path, "/v1/work/{id}/") && path != "/v1/work/{id}/start":
		processor.call("POST", "/v1/work/"+there.Request+"/start", nil).want(200)
	case path == "/v1/requests/{id}/redrive":
		processor.call("POST", "/v1/work/"+there.Request+"/start", nil).want(200)
		processor.call("PUT", "/v1/work/"+there.Request+"/error", `{"code":"c","message":"m"}`).want(200)
	case path == "/v1/requests/{id}/input":
		processor.call("POST", "/v1/work/"+there.Request+"/start", nil).want(200)
		processor.call("PUT", "/v1/work/"+there.Request+"/question", `{"message":"`+marker+`?"}`).want(200)
	}
	r.eventually(func() bool { // that of its first event waits
		deliveries := alice.call("GET", "/v1/webhooks/"+hook+"/deliveries", nil).want(200).json()["deliveries"].([]any)
		if len(deliveries) > 0 {
			there.Message = deliveries[0].(map[string]any)["id"].(string)
		}
		return there.Message != ""
	})
	if strings.HasSuffix(operation, "/test") { // which goes to no endpoint that is paused
		alice.call("POST", "/v1/webhooks/"+hook+"/resume", nil).want(200)
	}
	if operation == "" {
		r.secrets = []string{marker, there.Request, there.Ended, there.Batch, there.Webhook, there.Message}
	}
	return there
}
