package churn

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"
)

// The routes. Those of the samples are worked on by processes of the SDK, the others over HTTP by
// the client, but for idle.
const (
	routeLeased = "leased" // by workers that report as they should
	routeQuiet  = "quiet"  // by some that fall silent, come late and hang up
	routeIdle   = "idle"   // by nobody
)

// Routes are all that a gateway has to have.
var Routes = []string{routeLeased, routeQuiet, routeIdle, "echo", "sleep", "images", "fetch"}

// Leases of the HTTP workers.
const (
	longLease  = 8 * time.Second
	shortLease = time.Second
)

func leaseOf(route string) time.Duration {
	switch route {
	case routeLeased:
		return longLease
	case routeQuiet:
		return shortLease
	}
	return 0
}

// plan is what is asked for, and what the workers over HTTP are to do. It is not changed once it is
// made.
type plan struct {
	n     int
	name  string // of its kind
	owner int
	route string
	topic string

	id          string // "" if Hark is to make one
	content     []byte
	contentType string
	delay       time.Duration
	timeout     time.Duration
	retention   time.Duration
	priority    int
	attempts    int
	webhook     string // path at the receiver
	batch       bool   // it is a batch
	slot        bool   // its id is used again and again

	// For HTTP workers, by attempt: so many are silent, then so many fail and want another, then
	// this.
	silent, again int
	late          bool // a silent one reports when its lease has run out
	steps         int  // progress before the end
	forever       bool // progress without an end
	broken        bool // fails for good
	said          int  // bytes that each says
	twice         bool // ends with the same report twice
	size          int  // bytes that the result is made of; -1: none
	json          bool // it is JSON
	cancel        time.Duration
	cancels       bool

	// How it may end, with which code. A cancellation that is answered adds to that.
	want  string
	codes []string
	exact []byte // the result, if it succeeds and is known
}

// Statuses that end a request.
const (
	succeeded = "succeeded"
	failed    = "failed"
	canceled  = "canceled"
	expired   = "expired"
)

// bytesFor returns the bytes that belong to a submission and to no other.
func bytesFor(n, size int) []byte {
	b := make([]byte, size)
	var seed [32]byte
	copy(seed[:], strconv.Itoa(n))
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// mark is what texts of a submission hold, so that one which is seen elsewhere can be told.
func mark(n int) string { return fmt.Sprintf("n=%d;", n) }

// size returns the bytes of a result: mostly few, sometimes around what matters to Hark, seldom
// many.
func (c *churn) size(r *rand.Rand) int {
	switch k := r.IntN(200); {
	case k < 20:
		return 0
	case k < 150:
		return 1 + r.IntN(2000)
	case k < 175:
		return 16<<10 - 2 + r.IntN(4)
	case k < 194:
		return r.IntN(200 << 10)
	case k < 198:
		return r.IntN(1 << 20)
	default:
		return c.Largest - r.IntN(2)
	}
}

// plan chooses what is asked for next.
func (c *churn) plan(r *rand.Rand) plan {
	p := plan{
		n: c.next(), owner: r.IntN(owners), route: routeLeased, timeout: c.timeout(), retention: c.retention(5 * time.Minute),
		priority: r.IntN(10), attempts: 20, steps: r.IntN(4), size: c.size(r), want: succeeded, twice: one(r, 8),
	}
	p.content, p.contentType = fmt.Appendf(nil, `{"n":%d}`, p.n), "application/json"
	if one(r, 2) {
		p.topic = fmt.Sprintf("topic.%d", r.IntN(3))
	}
	if p.size > 512<<10 {
		p.retention = c.retention(90 * time.Second)
	}
	if one(r, 3) {
		p.id = fmt.Sprintf("chosen-%d-%d", c.Seed%1000, p.n)
	}
	if one(r, 6) {
		p.webhook = "/once/" + strconv.Itoa(p.n)
	}
	if one(r, 12) {
		p.delay = between(r, 200*time.Millisecond, 4*time.Second)
	}
	if one(r, 10) {
		p.cancels, p.cancel = true, between(r, 0, 3*time.Second)
	}
	switch k := r.IntN(100); {
	case k < 28:
		p.name = "leased"
		p.exact = bytesFor(p.n, p.size)
	case k < 32:
		p.name, p.size = "leased, without a result", -1
	case k < 37:
		p.name, p.broken, p.want, p.codes = "leased, fails", true, failed, []string{"broken"}
	case k < 44:
		p.name, p.again = "leased, retries", 1+r.IntN(3)
		p.exact = bytesFor(p.n, p.size)
	case k < 48:
		p.name, p.again, p.attempts = "leased, retries run out", 100, 1+r.IntN(3)
		p.want, p.codes = failed, []string{"again"}
	case k < 56:
		p.name, p.route, p.silent, p.late = "silent", routeQuiet, 1+r.IntN(2), one(r, 2)
		p.size = min(p.size, 20<<10)
		p.exact = bytesFor(p.n, p.size)
	case k < 60:
		p.name, p.forever, p.timeout, p.want, p.codes = "expires while worked on", true, between(r, time.Second, 3*time.Second), expired, []string{"expired"}
	case k < 65:
		p.name, p.route, p.timeout, p.want, p.codes = "expires while it waits", routeIdle, between(r, 500*time.Millisecond, 4*time.Second), expired, []string{"expired"}
	case k < 79:
		p.name, p.route = "echo", "echo"
		p.content, p.contentType = bytesFor(p.n, max(p.size, 1)), "application/octet-stream"
		p.exact = p.content
	case k < 90:
		p.name, p.route = "sleep", "sleep"
		p.exact = fmt.Appendf(nil, `{"n":%d}`, p.n)
		p.content = fmt.Appendf(nil, `{"steps":%d,"duration":"%dms","result":%s}`, 1+r.IntN(6), 50+r.IntN(700), p.exact)
	case k < 94:
		p.name, p.route, p.want, p.codes = "sleep, fails", "sleep", failed, []string{"asked-to-fail"}
		p.content = fmt.Appendf(nil, `{"steps":3,"duration":"100ms","failAt":%d}`, 1+r.IntN(3))
	case k < 97:
		p.name, p.route = "images", "images"
		p.content, p.contentType = picture, "image/png"
	default:
		p.name, p.route = "fetch", "fetch"
		p.content = fmt.Appendf(nil, `{"url":%q}`, c.receiver.url+"/page/"+strconv.Itoa(p.n))
	}
	if one(r, 25) { // works for so long that gateways are started again meanwhile
		p.steps = 30 + r.IntN(40)
	}
	if p.steps > 0 && one(r, 2) {
		p.said = r.IntN(1900)
	}
	if (p.route == routeLeased || p.route == routeQuiet) && p.exact != nil && p.size <= 6000 && one(r, 2) {
		// The content stands in the event, too.
		p.json, p.exact = true, []byte(`"`+hex.EncodeToString(p.exact)+`"`)
	}
	if p.want == expired {
		p.delay = 0 // it has to be shorter than the timeout
	}
	return p
}

// document is the submission as a JSON document.
func (p *plan) document(c *churn) []byte {
	o := map[string]any{"route": p.route, "priority": p.priority, "timeout": p.timeout.String(), "retention": p.retention.String(), "maxAttempts": p.attempts, "content": json.RawMessage(p.content)}
	if p.id != "" {
		o["id"] = p.id
	}
	if p.topic != "" {
		o["topic"] = p.topic
	}
	if p.delay > 0 {
		o["delay"] = p.delay.String()
	}
	if p.webhook != "" {
		o["webhook"] = map[string]any{"url": c.receiver.url + p.webhook, "secret": c.receiver.once.String()}
	}
	body, err := json.Marshal(o)
	if err != nil {
		panic(err) // never: all of it can be written
	}
	return body
}

// call is the submission as a call: JSON, or, if the content is something else, its bytes with the
// options in the query.
func (p *plan) call(c *churn) call {
	if p.contentType == "application/json" {
		return call{method: "POST", path: "/v1/requests", contentType: p.contentType, body: p.document(c)}
	}
	q := url.Values{"route": {p.route}, "priority": {strconv.Itoa(p.priority)}, "timeout": {p.timeout.String()}, "retention": {p.retention.String()}, "maxAttempts": {strconv.Itoa(p.attempts)}}
	if p.id != "" {
		q.Set("id", p.id)
	}
	if p.topic != "" {
		q.Set("topic", p.topic)
	}
	if p.delay > 0 {
		q.Set("delay", p.delay.String())
	}
	if p.webhook != "" { // without a secret: v1a alone
		q.Set("webhook", c.receiver.url+p.webhook)
	}
	return call{method: "POST", path: "/v1/requests?" + q.Encode(), contentType: p.contentType, body: p.content}
}

// right reports whether a result is the one that was to come out.
func (p *plan) right(result []byte) bool {
	switch p.name {
	case "images":
		return len(result) > 0
	case "fetch":
		return bytes.Contains(result, []byte(mark(p.n)))
	}
	return bytes.Equal(result, p.exact)
}
