package api

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/authority"
	"github.com/hark-push/hark/lifecycle"
)

// Shares are how many calls may be under way at a time, those that wait included; 0: any number.
type Shares struct {
	PerCaller  int  // of one caller; without keys everybody is the same one
	PerAddress int  // from one address
	Fields     bool // say in each answer how much is left, see rateLimit
}

// The policies, as RateLimit-Policy and the member violated-policies name them.
const (
	policyCaller  = "calls-per-caller"
	policyAddress = "calls-per-address"

	// These are told to the meter alone.
	policyAll   = "calls"
	policyRoute = "waiting-requests-per-route"
	policyBytes = "body-bytes"
)

// inFlight counts what is under way for each of many. It keeps nothing of those for whom nothing
// is. It may be used by many goroutines.
type inFlight[K comparable] struct {
	most int // for each; 0: nothing is counted

	mu sync.Mutex
	of map[K]int
}

// enter counts one more, or reports false if that were too many. left is how many more there may
// be.
func (t *inFlight[K]) enter(k K) (left int, ok bool) {
	if t.most <= 0 {
		return 0, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.of[k]
	if n >= t.most {
		return 0, false
	}
	if t.of == nil {
		t.of = make(map[K]int)
	}
	t.of[k] = n + 1
	return t.most - n - 1, true
}

func (t *inFlight[K]) leave(k K) {
	if t.most <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[k]--; t.of[k] <= 0 {
		delete(t.of, k)
	}
}

// always reports whether a path is answered however many calls are under way: by it one sees what
// is wrong.
func always(path string) bool {
	return path == "/health" || path == "/health/live" || path == "/health/ready" || path == "/metrics"
}

// byAddress lets a call through as one of its address.
func (a *API) byAddress(c *fiber.Ctx) error {
	from := a.client(c)
	httpbody.ConnOf(c.Context()).From = from
	if !from.IsValid() || always(c.Path()) {
		return c.Next()
	}
	left, ok := a.addresses.enter(from)
	a.rateLimit(c, policyAddress, a.addresses.most, left)
	if !ok {
		return tooManyCalls(policyAddress, "from this address")
	}
	defer a.addresses.leave(from)
	return c.Next()
}

// byCaller has a handler answer a call as one of its caller.
func (a *API) byCaller(c *fiber.Ctx, caller auth.Caller, h handler) error {
	left, ok := a.callers.enter(caller.Subject)
	a.rateLimit(c, policyCaller, a.callers.most, left)
	if !ok {
		return tooManyCalls(policyCaller, "of this caller")
	}
	defer a.callers.leave(caller.Subject)
	return h(c, caller)
}

func tooManyCalls(policy, whose string) *problem.Details {
	return &problem.Details{
		Kind: problem.Calls, Detail: "There are as many calls " + whose + " under way as there may be, those that wait included.",
		RetryAfter: 1 + rand.IntN(5), Members: map[string]any{"violated-policies": []string{policy}},
	}
}

// rateLimit says, if that is asked for, what a share is and how much of it is left, as structured
// fields (RFC 9651) by draft-ietf-httpapi-ratelimit-headers-10. What is counted is what is under
// way, which has no window.
func (a *API) rateLimit(c *fiber.Ctx, policy string, quota, left int) {
	if !a.Shares.Fields || quota <= 0 {
		return
	}
	c.Append("RateLimit-Policy", strconv.Quote(policy)+";q="+strconv.Itoa(quota)+`;qu="concurrent-requests"`)
	c.Append("RateLimit", strconv.Quote(policy)+";r="+strconv.Itoa(left))
}

// client returns the address whose share a call takes: that of the client, as far as a trusted
// proxy says it, and of IPv6 its /64; the zero value if only proxies are known.
func (a *API) client(c *fiber.Ctx) netip.Addr {
	peer, err := netip.ParseAddrPort(c.Context().RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	if len(a.TrustedProxies) == 0 {
		return authority.Network(peer.Addr())
	}
	return authority.Network(authority.Client(peer.Addr(), forwardedFor(c), a.trustsAddress))
}

// forwardedFor returns whom the proxies in front got the call from, the nearest one last.
func forwardedFor(c *fiber.Ctx) []string {
	var hops []string
	for _, line := range c.Request().Header.PeekAll(fiber.HeaderXForwardedFor) {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	if len(hops) > 0 {
		return hops
	}
	for _, line := range c.Request().Header.PeekAll("Forwarded") { // RFC 7239, section 4
		for _, element := range field.SplitUnquoted(string(line), ',') {
			hop := "" // of an element that says nothing of it
			for _, pair := range field.SplitUnquoted(element, ';') {
				if name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.EqualFold(name, "for") {
					hop = field.Unquote(value)
				}
			}
			hops = append(hops, hop)
		}
	}
	return hops
}

// quotaRetry is how many seconds who has used up what is stored for him should stay away: nothing
// of it falls at a known time.
const quotaRetry = 30

// fullRetry is how many seconds who finds a route full, or has too many waiting, should stay away
// if nobody knows how fast that goes.
const fullRetry = 5

// whenRoom is how many seconds who has submitted what there is no room for should stay away: until
// there is some, by the pace so far.
func (a *API) whenRoom(err error) int {
	after := a.Service.RetryAfter(a.storeContext(), err)
	if after <= 0 {
		return fullRetry
	}
	return int(min(math.Ceil(after.Seconds()), maxRetryAfter))
}

// overQuota is the problem of a submission for which its owner has no room.
func (a *API) overQuota(q *lifecycle.QuotaError) *problem.Details {
	p := &problem.Details{Kind: problem.Open, RetryAfter: quotaRetry, Members: map[string]any{"violated-policies": []string{q.Policy}}}
	p.Detail = "With it you would have " + strconv.FormatInt(q.Wanted, 10) + " requests that have not ended, at most " + strconv.FormatInt(q.Most, 10) + " are allowed."
	switch q.Policy {
	case lifecycle.PolicyWaiting:
		p.Kind, p.RetryAfter = problem.Waiting, a.whenRoom(q)
		p.Detail = "With it " + strconv.FormatInt(q.Wanted, 10) + " of your requests would wait for a processor, at most " + strconv.FormatInt(q.Most, 10) + " may."
	case lifecycle.PolicyStored:
		p.Kind = problem.Stored
		p.Detail = "With it " + strconv.FormatInt(q.Wanted, 10) + " bytes would be kept for you, at most " + strconv.FormatInt(q.Most, 10) + " are allowed."
	}
	return p
}
