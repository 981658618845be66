package link

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// passing are the words with which a server answers that will not answer so for ever: it starts,
// elects a master, or is full.
var passing = []string{"LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY", "READONLY", "NOREPLICAS", "MISCONF", "OOM", "ERR max number of clients reached"}

// MayPass reports whether waiting may mend what is the matter: a server that cannot be reached, or
// that cannot answer yet.
func MayPass(err error) bool {
	_, unreachable := errors.AsType[net.Error](err)
	unreachable = unreachable || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrPoolExhausted)
	if said, ok := errors.AsType[goredis.Error](err); ok {
		unreachable = slices.ContainsFunc(passing, func(word string) bool { return strings.HasPrefix(said.Error(), word) })
	}
	text := err.Error() // of errors that go-redis has no names for
	return unreachable || strings.Contains(text, "all sentinels") || strings.Contains(text, "cluster has no nodes") || strings.Contains(text, "closed network connection")
}

// Full reports whether a server has refused something because it has no memory for it.
func Full(err error) bool {
	said, ok := errors.AsType[goredis.Error](err)
	return ok && strings.HasPrefix(said.Error(), "OOM ")
}

// ReadOnly reports whether a server has refused to write because it is a replica.
func ReadOnly(err error) bool {
	said, ok := errors.AsType[goredis.Error](err)
	return ok && strings.HasPrefix(said.Error(), "READONLY ")
}

// Refused reports whether a server that can be reached has refused to write.
func Refused(err error) bool {
	said, ok := errors.AsType[goredis.Error](err)
	return ok && (strings.HasPrefix(said.Error(), "MISCONF ") || strings.HasPrefix(said.Error(), "NOREPLICAS "))
}
