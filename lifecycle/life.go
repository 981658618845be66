package lifecycle

import (
	"crypto/rand"
	"strings"
)

// Ref names one life of a request. An id that a client has chosen may be used again once the
// request that had it is forgotten, and everything that counts within a request then begins anew:
// sequences, attempts, offsets. So whatever outlives a request (a message of a queue, a lease, an
// attempt, an event, a cursor, a ticket) names the life that it belongs to, and finds nothing when
// that is over.
//
// An id that Hark has made is never given twice. It needs no life, and has none.
type Ref struct {
	ID string
	// "" of an id that Hark has made, and of what was stored before there were lives; or [AnyLife].
	Life string
}

// AnyLife is the life in a [Ref] that names whichever request has the id now.
const AnyLife = "*"

// Named names the request that has an id now. It is for calls that come with nothing but an id;
// what is kept names the life.
func Named(id string) Ref { return Ref{id, AnyLife} }

// Of reports whether the request is the one that is named.
func (f Ref) Of(r *Request) bool { return f.ID == r.ID && (f.Life == AnyLife || f.Life == r.Life) }

// String is the id, and the life behind a slash if there is one. Neither holds a slash.
func (f Ref) String() string {
	if f.Life == "" {
		return f.ID
	}
	return f.ID + "/" + f.Life
}

// ParseRef is the inverse of [Ref.String]. It checks nothing.
func ParseRef(s string) Ref {
	id, life, _ := strings.Cut(s, "/")
	return Ref{id, life}
}

const (
	lifeSize   = 10
	lifeDigits = "0123456789abcdefghjkmnpqrstvwxyz" // 32, each of which is 5 bits
)

// NewLife returns the name of a life: 50 random bits, which are enough because lives of one id only
// are told apart. It needs no escaping anywhere.
func NewLife() string {
	var life [lifeSize]byte
	_, _ = rand.Read(life[:]) // never fails
	for i, b := range life {
		life[i] = lifeDigits[b%32]
	}
	return string(life[:])
}

// ValidLife reports whether s may be the name of a life.
func ValidLife(s string) bool {
	return len(s) == lifeSize && strings.Trim(s, lifeDigits) == ""
}
