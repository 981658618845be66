package dispatch

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/hark-push/hark/egress"
)

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// resolveTime bounds the look at where a URL leads when an endpoint is made.
const resolveTime = 5 * time.Second

// urlRefused is what an owner learns of a URL whose host is not there or not public:
// the same in both cases, so that nobody learns of hosts inside.
const urlRefused = "its host must be on the public internet, or in a network that the gateway's --webhook-allow-cidrs names"

// plainRefused is what an owner learns of an http URL.
const plainRefused = "want https; http is possible if the gateway runs with --webhook-allow-http, and hosts that are not public with --webhook-allow-cidrs"

// checkURL refuses a URL that deliveries must not go to. What it resolves to is checked again at every
// connection, so this is a courtesy to whoever mistypes it.
func (s *sender) checkURL(ctx context.Context, text string) *InvalidError {
	refuse := func(detail string) *InvalidError { return &InvalidError{Field: "url", Detail: detail} }
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return refuse("want an absolute URL")
	case len(text) > maxURL:
		return refuse("it is longer than 2048 bytes")
	case u.Scheme != "https" && (u.Scheme != "http" || !s.options.AllowHTTP):
		if u.Scheme == "http" {
			return refuse(plainRefused)
		}
		return refuse("want https, not " + u.Scheme)
	case u.User != nil:
		return refuse("it must not have a user name or password")
	case !validPort(u):
		return refuse("its port must be from 1 to 65535")
	case u.Fragment != "":
		return refuse("it must not have a fragment")
	case u.Hostname() == "" || egress.Numeric(u.Hostname()):
		return refuse(urlRefused)
	}
	if !s.resolves(ctx, u.Hostname()) {
		return refuse(urlRefused)
	}
	return nil
}

// validPort reports whether a URL has a port that there can be, or none.
func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return true // that of its scheme
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// resolves reports whether a host leads to addresses that may be reached, and no others.
func (s *sender) resolves(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if addr, e := netip.ParseAddr(host); e == nil {
		addresses, err = []netip.Addr{addr}, nil
	}
	if err != nil || len(addresses) == 0 {
		return false
	}
	for _, addr := range addresses {
		if s.guard.Check(addr.Unmap()) != nil {
			return false
		}
	}
	return true
}
