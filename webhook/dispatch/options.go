package dispatch

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
)

// Options of a [Service] and a [Dispatcher]. The zero value works.
type Options struct {
	// AllowCIDRs are networks that may be reached although they are not public.
	AllowCIDRs []netip.Prefix
	// AllowHTTP lets URLs begin with http://.
	AllowHTTP bool
	// Key seals secrets in the store, 32 bytes; nil: they are stored as they are.
	Key []byte
	// Challenge is what every endpoint must pass before it is used, whatever it asks for.
	// Default [ChallengeNone].
	Challenge Challenge
	// Origin is what the ownership handshake says of where deliveries come from, a
	// DNS name. Default "hark".
	Origin string
	// DisableAfter is how long every attempt to deliver to an endpoint may fail before
	// it is disabled. Default 5 days.
	DisableAfter time.Duration
	// Slots is how many deliveries one dispatcher sends at a time. Default 1024.
	Slots int
	// PerOwner is how many endpoints an owner may have, one-off ones not counted; 0: any number.
	PerOwner int
	// OneOffPerOwner is how many one-off endpoints an owner may have; 0: any number.
	OneOffPerOwner int
	// Certificate is what endpoints are shown that ask for one (mutual TLS).
	Certificate *tls.Certificate
	// RootCAs are whose certificates endpoints may have. Default: those of the system.
	RootCAs *x509.CertPool
	// Events returns events of an owner after an offset in their feed, oldest first, and
	// the offset of the last one; none at the end. [Service.Recover] needs it.
	Events func(ctx context.Context, owner string, after uint64) (events []*lifecycle.Event, last uint64, err error)
	// Text returns an event as it is sent. Whoever delivers events of requests needs it.
	Text func(*lifecycle.Event) []byte
	// Thin returns a message as it is sent to an endpoint of FormThin.
	Thin func(Message) []byte
	// Stall says that this process, or the store, stood still: an attempt takes no longer to time
	// out then than to read its answer. Nil: never.
	Stall *stall.Watch
	// Transport, if not nil, wraps the one that deliveries are sent through.
	Transport func(http.RoundTripper) http.RoundTripper
	// Attempted is told how long each attempt took until it was answered or had failed. It must not
	// block. Nil: nobody is.
	Attempted func(took time.Duration)
	Logger    *slog.Logger // default: discard
}

func (o Options) withDefaults() Options {
	o.Challenge = cmp.Or(o.Challenge, ChallengeNone)
	o.Origin = cmp.Or(o.Origin, "hark")
	o.DisableAfter = cmp.Or(max(o.DisableAfter, 0), 5*24*time.Hour)
	o.Slots = cmp.Or(max(o.Slots, 0), 1024)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
