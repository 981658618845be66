package httpbody

import (
	"errors"
	"net"
	"strings"

	"github.com/valyala/fasthttp"
)

// errUnreadable stands for an error that says in its own words, and with those of the client, why a
// request cannot be read.
var errUnreadable = errors.New("the request cannot be read")

// withoutText returns an error of the server as Fiber is to see it, which takes one for a timeout
// that has the word in its text, also if it stands there because the client sent it: errors of
// fasthttp quote what they are about.
func withoutText(err error) error {
	_, network := errors.AsType[net.Error](err)
	if network || errors.As(err, new(*fasthttp.ErrSmallBuffer)) || !strings.Contains(err.Error(), "timeout") {
		return err
	}
	return errUnreadable
}
