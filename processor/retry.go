package processor

import (
	"cmp"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/lifecycle"
)

// RetryPolicy says how long to wait after attempts that failed: Base after the first one, Factor
// times as long after each further one, up to Max. All are a fifth longer or shorter, by chance, so
// that what failed together does not come back together. How many attempts there are is said by
// each request.
type RetryPolicy struct {
	Base   time.Duration // positive
	Factor float64       // 1 or more, 1 for the same pause each time; default 2
	Max    time.Duration // default five minutes, or Base if that is longer
}

// withDefaults returns p with every zero field replaced by its default. It panics if p is no
// policy.
func (p RetryPolicy) withDefaults(route string) RetryPolicy {
	p.Factor = cmp.Or(p.Factor, 2)
	p.Max = cmp.Or(p.Max, max(p.Base, 5*time.Minute))
	if p.Base <= 0 || p.Factor < 1 || p.Max < p.Base {
		panic("processor: the retry policy of route " + route + " needs a positive base, a factor of 1 or more, and a longest pause that is not below the base")
	}
	return p
}

// delay returns how long to wait after another failure of a request that had as many as it says, 0
// if that is not for a policy to say.
func (o *Options) delay(r *lifecycle.Request) time.Duration {
	p, ok := o.Retry[r.Route]
	if !ok || r.RetryDelay > 0 {
		return 0
	}
	return backoff.Geometric(r.Failures+1, p.Base, p.Max, p.Factor)
}
