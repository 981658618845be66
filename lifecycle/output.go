package lifecycle

import (
	"fmt"
	"time"

	"github.com/hark-push/hark/stream"
)

// ErrNoOutput: there is no such request, so it has no output.
var ErrNoOutput = fmt.Errorf("%w: %w", ErrNotFound, stream.ErrNotFound)

// OutputName names the stream that is the output of a request.
func OutputName(of Ref) stream.Name { return stream.Name{Path: of.String()} }

// AppendOutput decides what an append does to the output of a request, as [stream.Stream.Append]
// does. s is the output as it was stored, or [stream.NewOutput]. Only the attempt that counts
// appends, and only while it runs: [*TransitionError].
func AppendOutput(r *Request, s stream.Stream, now time.Time, a stream.Append) (stream.Appended, []byte, error) {
	s = OutputOf(r, s)
	if err := fence(r, appendOutput{}, a.Attempt); err != nil {
		return stream.Appended{Stream: s}, nil, err
	}
	a.Close = false
	if a.Attempt == 0 {
		a.Attempt = r.Attempt
	}
	return s.Append(now, &a)
}

// OutputOf is the output of a request as it stands: closed exactly while the request has ended, so
// that the step that ends a request, and one that redrives it, need not change its output. s is as
// it was stored, or [stream.NewOutput].
func OutputOf(r *Request, s stream.Stream) stream.Stream {
	s.Closed, s.ClosedBy = r.Status.Terminal(), nil
	s.Created = r.CreatedAt
	return s
}

// appendOutput names in a [TransitionError] what was refused. It is no change of the request.
type appendOutput struct{}

func (appendOutput) name() string { return "output" }

func (appendOutput) apply(*Request, time.Time) (EventType, error) { return unchanged, nil }
