package httpbody

import (
	"errors"
	"net"
	"os"
	"testing"

	"github.com/valyala/fasthttp"
)

// TestWithoutText: an error is a timeout by what it is, and not by a word in its text.
func TestWithoutText(t *testing.T) {
	slow := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	small := &fasthttp.ErrSmallBuffer{}
	plain := errors.New("unsupported protocol")
	for err, want := range map[error]error{
		slow: slow, small: small, plain: plain,
		errors.New(`cannot read "a\x7fb\r\n\r\n{\"timeout\":\"5s\"}"`): errUnreadable,
	} {
		if got := withoutText(err); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
