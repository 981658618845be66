package httpbody

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/hark-push/hark/gateway/api/problem"
)

func TestBrokenBody(t *testing.T) {
	for err, want := range map[error]string{
		io.ErrUnexpectedEOF:                       problem.Malformed.Name,
		errors.New("broken chunk"):                problem.Malformed.Name,
		os.ErrDeadlineExceeded:                    problem.Timeout.Name,
		&net.OpError{Err: os.ErrDeadlineExceeded}: problem.Timeout.Name,
	} {
		if got := brokenBody(new(Conn), err); got.Kind.Name != want || got.Detail == "" {
			t.Errorf("%v: %+v, want %s", err, got, want)
		}
	}
}

// FuzzByteRanges: what is written is read as the same, and is none only if the whole is.
func FuzzByteRanges(f *testing.F) {
	for _, s := range []string{"0-", "-0", "0-0,-1", " 1-2 ,,", "3-2", "99999999999999999999-", "-99999999999999999999", "a", "-", "1 - 2"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, set string, size int64) {
		size &= 1<<40 - 1
		once := byteRanges(set, size)
		if again := byteRanges(once, size); again != once {
			t.Errorf("%q is %q, and that is %q", set, once, again)
		}
		for spec := range strings.SplitSeq(once, ",") {
			if first, last, ok := strings.Cut(spec, "-"); once != "x" && (!ok || first == "" && (last == "" || last == "0")) {
				t.Errorf("%q has %q", once, spec)
			}
		}
	})
}
