package processor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/lifecycle"
)

// settle makes the final report of an attempt, again and again while the store is
// down, so that a result is not lost to a hiccup. It gives up when the request's
// time is over, since the store ends it then, or when the drain time is over. It
// returns true if the delivery is done with, false if it has to go back.
func (a *attempt) settle(c lifecycle.Change) (done bool) {
	unclear := false // an earlier try may have been made after all
	for try := 1; ; try++ {
		err := a.finalReport(c)
		switch {
		case err == nil:
			return true
		case needless(err):
			// If an earlier try was made but its answer lost, a retry may not
			// have been queued: then this delivery has to stand in for it.
			refused, ok := errors.AsType[*lifecycle.TransitionError](err)
			return !unclear || !ok || refused.From != lifecycle.Pending
		case !errors.Is(err, lifecycle.ErrUnavailable):
			return a.settleOtherwise(c, err)
		}
		unclear = true
		a.run.log.Warn("final report failed", slog.String("request", a.of.ID), slog.Int("try", try), slog.Any("error", err))
		if a.run.work.Err() != nil {
			return false
		}
		if deadline, ok := a.ctx.Deadline(); ok && !time.Now().Before(deadline) {
			return true
		}
		_ = backoff.Wait(a.run.work, again(try))
	}
}

// finalReport makes the report once. There is one try after the drain time, too.
func (a *attempt) finalReport(c lifecycle.Change) error {
	ctx := context.WithoutCancel(a.run.work)
	if a.run.work.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.run.options.Grace)
		defer cancel()
	}
	_, err := a.run.report(ctx, a.of, c)
	return err
}

// settleOtherwise ends an attempt whose result the store does not take, for
// whatever reason: trying for ever would keep the slot and tell nobody.
func (a *attempt) settleOtherwise(c lifecycle.Change, err error) (done bool) {
	a.run.log.Error("final report was refused", slog.String("request", a.of.ID), slog.Any("error", err))
	if _, ok := c.(lifecycle.Succeed); !ok {
		_ = backoff.Wait(a.run.work, again(1))
		return false
	}
	return a.settle(lifecycle.Fail{
		Attempt: int(a.number.Load()),
		Failure: lifecycle.Failure{Code: "result-refused", Message: "The result could not be stored.", Detail: clip(err.Error(), maxDetail)},
	})
}
