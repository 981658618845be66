package config

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/hark-push/hark/gateway/authority"
	"github.com/hark-push/hark/settings"
)

// checkAddress checks how clients reach the gateway, and who is believed about it.
func (c *Config) checkAddress() error {
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || !authority.Valid(u.Host) || u.User != nil || strings.Trim(u.EscapedPath(), "/") != "" ||
			u.RawQuery != "" || u.ForceQuery || strings.Contains(c.PublicURL, "#") {
			return settings.NotAllowed("public-url", c.PublicURL, "scheme and host, like https://push.example.org, a name of other letters as it is in DNS (xn--…); the gateway's paths begin behind them, with /v1")
		}
		// Origin fields never say the port that their scheme has anyway, and are compared with
		// this.
		c.PublicURL = u.Scheme + "://" + authority.Plain(u.Scheme, u.Host)
	}
	return checkNetworks("trusted-proxies", c.TrustedProxies)
}

// Proxies returns the networks of TrustedProxies.
func (c *Config) Proxies() []netip.Prefix { return networks(c.TrustedProxies) }

func checkNetworks(key string, cidrs []string) error {
	for _, cidr := range cidrs {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return settings.NotAllowed(key, cidr, "networks like 10.0.0.0/8 or fd00::/8; a single address is one of /32 or /128")
		}
	}
	return nil
}

// networks returns those that were checked.
func networks(cidrs []string) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(cidrs))
	for _, cidr := range cidrs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}
