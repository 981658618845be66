package config

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
)

func (c *Config) checkWebhooks() error {
	for _, cidr := range c.WebhookAllowCIDRs {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return &Error{"webhook-allow-cidrs", cidr, "networks like 10.0.0.0/8 or fd00::/8"}
		}
	}
	if key, err := base64.StdEncoding.DecodeString(c.WebhookKey); err != nil || c.WebhookKey != "" && len(key) != 32 {
		return &Error{"webhook-key", "(hidden)", "32 bytes in base64, as from: openssl rand -base64 32"}
	}
	if !slices.Contains([]string{"none", "handshake", "echo"}, c.WebhookChallenge) {
		return &Error{"webhook-challenge", c.WebhookChallenge, "none, handshake or echo"}
	}
	if c.WebhookOrigin == "" || strings.ContainsAny(c.WebhookOrigin, " ,*/\r\n") {
		return &Error{"webhook-origin", c.WebhookOrigin, "a DNS name"}
	}
	if (c.WebhookCert == "") != (c.WebhookCertKey == "") {
		return &Error{"webhook-cert", c.WebhookCert, "both --webhook-cert and --webhook-cert-key, or neither"}
	}
	return nil
}

// WebhookNetworks returns the networks of WebhookAllowCIDRs.
func (c *Config) WebhookNetworks() []netip.Prefix {
	networks := make([]netip.Prefix, 0, len(c.WebhookAllowCIDRs))
	for _, cidr := range c.WebhookAllowCIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil { // it was checked
			networks = append(networks, p.Masked())
		}
	}
	return networks
}

// WebhookSeal returns the bytes of WebhookKey, nil for none.
func (c *Config) WebhookSeal() []byte {
	key, _ := base64.StdEncoding.DecodeString(c.WebhookKey) // it was checked
	if len(key) == 0 {
		return nil
	}
	return key
}
