package dispatch

import (
	"net/http"
	"time"

	"github.com/hark-push/hark/backoff"
)

// verdict is what follows from an answer.
type verdict struct {
	outcome Outcome
	hold    time.Duration // the endpoint asked for a pause
	gone    bool          // the endpoint wants nothing any more
}

// judge decides what an answer means:
//
//   - 2xx: delivered.
//   - 410: the endpoint wants nothing any more.
//   - 429, 502, 503, 504: it has too much to do. It is left alone for as long as it asks for.
//   - everything else, redirects too, and no answer: tried again by the schedule, and after 413 not before it asks for.
func judge(c *Claim, a answer) verdict {
	v := verdict{outcome: Outcome{
		Attempt: Attempt{Latency: a.latency, Status: a.status, Class: a.class, Response: a.body},
		State:   Waiting,
	}}
	switch {
	case a.status >= 200 && a.status <= 299:
		v.outcome.State = Delivered
		return v
	case a.status == http.StatusGone:
		v.outcome.Attempt.Class, v.outcome.State, v.gone = ClassGone, Dead, true
		return v
	case a.status >= 300 && a.status <= 399:
		v.outcome.Attempt.Class = ClassRedirect
	case a.status > 0:
		v.outcome.Attempt.Class = ClassStatus
	}
	switch a.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		v.hold = a.retryAfter
	case http.StatusUnsupportedMediaType:
		v.outcome.Attempt.Sent = c.Endpoint.mediaType()
	}
	if c.Attempt > len(c.Endpoint.Schedule) {
		v.outcome.State = Dead
		return v
	}
	v.outcome.After = max(backoff.Jitter(c.Endpoint.Schedule[c.Attempt-1]), v.hold)
	if a.status == http.StatusRequestEntityTooLarge {
		// It is about this body, not about all (RFC 9110, section 15.5.14).
		v.outcome.After = max(v.outcome.After, a.retryAfter)
	}
	return v
}

// The circuit breaker: after so many failures in a row an endpoint is left alone for a
// time, which doubles with each further one. Then one attempt shows whether it is back:
// the store lends no second one before it succeeds.
const (
	breakerAfter = 5
	breakerFirst = 15 * time.Second
	breakerMost  = 10 * time.Minute
)

func breaker(failures int) time.Duration {
	if failures < breakerAfter {
		return 0
	}
	return backoff.Exponential(failures-breakerAfter+1, breakerFirst, breakerMost)
}
