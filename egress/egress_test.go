package egress_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/hark-push/hark/egress"
)

func TestControl(t *testing.T) {
	open := egress.New(nil)
	web := egress.New(nil, 80, 443)
	home := egress.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fc00::/7")})
	for _, c := range []struct {
		address         string
		open, web, home bool
	}{
		{"93.184.216.34:443", true, true, true},
		{"93.184.216.34:8443", true, false, true},
		{"[2606:2800:220:1::1]:443", true, true, true},
		{"127.0.0.1:80", false, false, true},
		{"[::ffff:127.0.0.1]:80", false, false, true},
		{"[::1]:80", false, false, false},
		{"[fd00::1]:80", false, false, true},
		{"0.0.0.0:80", false, false, false},
		{"10.1.2.3:443", false, false, false},
		{"172.16.0.1:443", false, false, false},
		{"192.168.1.1:443", false, false, false},
		{"100.64.0.1:443", false, false, false},
		{"169.254.169.254:80", false, false, false},    // where clouds keep their metadata
		{"[fe80::1%eth0]:80", false, false, false},     // link-local
		{"[::ffff:10.0.0.1]:443", false, false, false}, // IPv4-mapped
		{"[64:ff9b::7f00:1]:80", false, false, false},  // NAT64
		{"[2002:7f00:1::]:80", false, false, false},    // 6to4
		{"[::127.0.0.1]:80", false, false, false},      // IPv4-compatible
		{"224.0.0.1:80", false, false, false},
		{"255.255.255.255:80", false, false, false},
		{"nonsense", false, false, false},
	} {
		for _, g := range []struct {
			name  string
			guard *egress.Guard
			ok    bool
		}{{"open", open, c.open}, {"web", web, c.web}, {"home", home, c.home}} {
			network := "tcp4" // as a dialer says, which has resolved the name
			if c.address[0] == '[' {
				network = "tcp6"
			}
			err := g.guard.Control(network, c.address, nil)
			if (err == nil) != g.ok || err != nil && !egress.Blocked(err) {
				t.Errorf("%s: %s: %v, want ok=%v", g.name, c.address, err, g.ok)
			}
		}
	}
	if err := open.Control("udp", "93.184.216.34:443", nil); err == nil {
		t.Error("UDP may pass")
	}
	for address, ok := range map[string]bool{"93.184.216.34": true, "127.0.0.1": false, "fe80::1%eth0": false, "::ffff:169.254.169.254": false} {
		if err := open.Check(netip.MustParseAddr(address)); (err == nil) != ok {
			t.Errorf("%s: %v, want ok=%v", address, err, ok)
		}
	}
	if egress.Blocked(&net.OpError{Op: "dial", Err: net.ErrClosed}) {
		t.Error("a closed connection counts as blocked")
	}
}

func TestNumeric(t *testing.T) {
	for host, want := range map[string]bool{
		"2130706433": true, "0x7f000001": true, "0x7f.1": true, "127.1": true, "0177.0.0.1": true, "127.0.0.1.": true, ".": true, "example.0x1": true,
		"127.0.0.1": false, "::1": false, "example.com": false, "example.com.": false, "1.example": false, "0xabc.example": false,
	} {
		if got := egress.Numeric(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
