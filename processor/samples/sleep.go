package samples

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/hark-push/hark/processor"
)

// The most that [Sleep] is willing to do.
const (
	maxSleepSteps = 1000
	maxSleep      = time.Hour
)

// sleepOrder is the content of a sleep request.
type sleepOrder struct {
	Steps    int             `json:"steps"`    // default 5
	Duration span            `json:"duration"` // of each step; default 1s
	Fail     bool            `json:"fail"`     // at the end
	FailAt   int             `json:"failAt"`   // or in this step, from 1
	Result   json.RawMessage `json:"result"`   // what comes out; default: a summary

	Ask        string          `json:"ask"`        // before the first step; "": nothing
	AskTimeout span            `json:"askTimeout"` // for how long; default: the gateway's
	AskDefault json.RawMessage `json:"askDefault"` // the answer if there is none in time
}

// sleepSlips are words that others use for the fields.
var sleepSlips = map[string]string{
	"each": "duration", "every": "duration", "delay": "duration", "interval": "duration", "sleep": "duration", "time": "duration",
	"seconds": "duration", "ms": "duration", "count": "steps", "n": "steps", "times": "steps", "error": "fail", "value": "result",
}

// Sleep does nothing in steps, and tells of each. Its content is JSON:
//
//	{"steps": 5, "duration": "1s", "fail": false, "failAt": 0, "result": {"any": "value"},
//	 "ask": "Shall it begin?", "askTimeout": "1h", "askDefault": true}
//
// Every field is optional, and others are refused. duration is that of one step, as a Go string or
// a number of seconds; there are at most 1000 steps, and an hour in all. fail lets the request fail
// at the end, failAt in that step; the code is then "asked-to-fail". Other codes: "bad-content",
// "bad-options". With ask it asks that first, and has the answer in its summary; with askDefault it
// goes on with that when nobody has answered within askTimeout.
func Sleep(ctx context.Context, job *processor.Job) (processor.Result, error) {
	order, err := parseSleep(job)
	if err != nil {
		return processor.Result{}, err
	}
	var answer json.RawMessage
	if order.Ask != "" {
		if answer, err = job.Ask(ctx, processor.Question{
			Message: order.Ask, Timeout: time.Duration(order.AskTimeout), Default: order.AskDefault,
		}); err != nil {
			return processor.Result{}, err
		}
	}
	for i := range order.Steps {
		percent := 100 * float64(i) / float64(order.Steps)
		if err := job.Progress(ctx, "sleeping", percent, fmt.Sprintf("Step %d of %d", i+1, order.Steps)); err != nil {
			return processor.Result{}, err
		}
		select {
		case <-time.After(time.Duration(order.Duration)):
		case <-ctx.Done():
			return processor.Result{}, context.Cause(ctx)
		}
		if order.FailAt == i+1 {
			return processor.Result{}, processor.Fail("asked-to-fail", fmt.Sprintf("Step %d failed, as it was asked to.", i+1), nil)
		}
	}
	if order.Fail {
		return processor.Result{}, processor.Fail("asked-to-fail", "The work failed, as it was asked to.", nil)
	}
	if order.Result != nil {
		return processor.Bytes("application/json", order.Result), nil
	}
	slept := time.Duration(order.Steps) * time.Duration(order.Duration)
	summary := map[string]any{"steps": order.Steps, "slept": slept.String()}
	if answer != nil {
		summary["answer"] = answer
	}
	return processor.JSON(summary)
}

func parseSleep(job *processor.Job) (sleepOrder, error) {
	order := sleepOrder{Steps: 5, Duration: span(time.Second)}
	if _, err := queryOf(job, "sleep"); err != nil {
		return sleepOrder{}, err
	}
	if len(job.Content.Data) > 0 {
		if err := decode(job, &order, "sleep", sleepSlips); err != nil {
			return sleepOrder{}, err
		}
	}
	bad := func(message string) (sleepOrder, error) {
		return sleepOrder{}, processor.Fail("bad-options", message, nil)
	}
	switch {
	case order.Duration == badSpan:
		return bad(`"duration" must be a Go duration such as "1.5s", or a number of seconds, and not negative.`)
	case order.Steps < 1 || order.Steps > maxSleepSteps:
		return bad(fmt.Sprintf(`"steps" must be 1 to %d.`, maxSleepSteps))
	case time.Duration(order.Duration) > maxSleep/time.Duration(order.Steps):
		return bad(fmt.Sprintf("All steps together must not take longer than %v.", maxSleep))
	case order.AskTimeout == badSpan:
		return bad(`"askTimeout" must be a Go duration such as "1h", or a number of seconds, and not negative.`)
	case order.Ask == "" && (order.AskTimeout != 0 || order.AskDefault != nil):
		return bad(`"askTimeout" and "askDefault" say nothing without "ask".`)
	case order.FailAt < 0 || order.FailAt > order.Steps:
		return bad(`"failAt" must be one of the steps.`)
	}
	return order, nil
}

// span is a duration in JSON: "1.5s", or 1.5 for seconds.
type span time.Duration

// badSpan stands for a value that is no duration, so that the message about it
// can name its field.
const badSpan span = -1

// UnmarshalJSON never fails, see badSpan.
func (s *span) UnmarshalJSON(data []byte) error {
	text, quoted := bytes.CutPrefix(data, []byte{'"'})
	if !quoted {
		text = append(bytes.Clone(data), 's') // a JSON number is a Go number
		if f, err := strconv.ParseFloat(string(data), 64); err == nil && f >= 0 && f <= 2*maxSleep.Seconds() {
			*s = span(f * float64(time.Second))
			return nil
		}
	}
	d, err := time.ParseDuration(string(bytes.TrimSuffix(text, []byte{'"'})))
	if err != nil || d < 0 {
		*s = badSpan
		return nil //nolint:nilerr // told with all that is wrong, by the caller
	}
	*s = span(d)
	return nil
}
