package authority

import (
	"net/netip"
	"strings"
)

// siteBits is how much of an IPv6 address tells its network: whoever has one address of it has all
// others, too (RFC 4291, section 2.5.4).
const siteBits = 64

// Network returns what tells one client from others by its address: the address itself, or of IPv6
// its /64.
func Network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(siteBits)
	if err != nil { // it has 128 bits
		return a
	}
	return p.Addr()
}

// Client returns the address of the client of a call that came from peer, by what trusted proxies
// say of it: forwardedFor are the elements of X-Forwarded-For, or of for= in Forwarded (RFC 7239,
// section 5.2), the nearest one last. Each proxy adds whom it got the call from, so the last one
// that is no trusted proxy is the client; what stands before it the client may have made up. The
// zero address says that only proxies are known.
func Client(peer netip.Addr, forwardedFor []string, trusted func(netip.Addr) bool) netip.Addr {
	at := peer.Unmap().WithZone("")
	for i := len(forwardedFor) - 1; i >= 0 && trusted(at); i-- {
		next, ok := parseNode(forwardedFor[i])
		if !ok {
			return netip.Addr{}
		}
		at = next
	}
	if trusted(at) {
		return netip.Addr{}
	}
	return at
}

// parseNode reads an address as proxies write it: with a port or without, IPv6 in brackets or not,
// in quotes or not.
func parseNode(text string) (netip.Addr, bool) {
	text = strings.Trim(strings.TrimSpace(text), `"`)
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	at, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return at.Unmap().WithZone(""), err == nil
}
