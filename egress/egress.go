// Package egress guards connections to addresses that strangers name: only the public
// internet may be reached, and what is allowed explicitly (against server-side request
// forgery, CWE-918).
package egress

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// Guard decides which addresses may be connected to. It may be used concurrently.
type Guard struct {
	allow  []netip.Prefix
	public *ssrf.Guardian
}

// New returns a guard that lets public addresses be reached on some ports (none given:
// on any) and the networks in allow on every port.
func New(allow []netip.Prefix, ports ...uint16) *Guard {
	option := ssrf.WithAnyPort()
	if len(ports) > 0 {
		option = ssrf.WithPorts(ports...)
	}
	return &Guard{allow: allow, public: ssrf.New(option)}
}

// Control is the Control of a net.Dialer: it sees the address that is really
// connected to, so a name that resolves differently the second time is no way in.
func (g *Guard) Control(network, address string, conn syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err == nil && g.allowed(at.Addr()) {
		return nil
	}
	return g.public.Safe(network, address, conn)
}

// Check refuses an address as Control does, whatever the port.
func (g *Guard) Check(addr netip.Addr) error {
	if g.allowed(addr) {
		return nil
	}
	return g.public.SafeAddr(addr.WithZone(""))
}

func (g *Guard) allowed(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range g.allow {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Blocked reports whether err says that a guard refused a connection.
func Blocked(err error) bool {
	return errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedPort) ||
		errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort)
}

// Numeric reports whether a host is an IPv4 address in a form that some resolvers
// know and netip does not: decimal, octal, hexadecimal, shortened. There is no
// honest use for them.
func Numeric(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return true
	}
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
