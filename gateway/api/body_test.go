package api

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
)

func TestBrokenBody(t *testing.T) {
	for err, want := range map[error]string{
		io.ErrUnexpectedEOF:                       kindMalformed.Name,
		errors.New("broken chunk"):                kindMalformed.Name,
		os.ErrDeadlineExceeded:                    kindTimeout.Name,
		&net.OpError{Err: os.ErrDeadlineExceeded}: kindTimeout.Name,
	} {
		if got := brokenBody(err); got.kind.Name != want || got.detail == "" {
			t.Errorf("%v: %+v, want %s", err, got, want)
		}
	}
}
