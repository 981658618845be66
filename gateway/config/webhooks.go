package config

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"

	"github.com/hark-push/hark/settings"
)

func (c *Config) checkWebhooks() error {
	if err := checkNetworks("webhook-allow-cidrs", c.WebhookAllowCIDRs); err != nil {
		return err
	}
	if key, err := base64.StdEncoding.DecodeString(c.WebhookKey); err != nil || c.WebhookKey != "" && len(key) != 32 {
		return settings.NotAllowed("webhook-key", "(hidden)", "32 bytes in base64, as from: openssl rand -base64 32")
	}
	if !slices.Contains([]string{"none", "handshake", "echo"}, c.WebhookChallenge) {
		return settings.NotAllowed("webhook-challenge", c.WebhookChallenge, "none, handshake or echo")
	}
	if c.WebhookOrigin == "" || strings.ContainsAny(c.WebhookOrigin, " ,*/\r\n") {
		return settings.NotAllowed("webhook-origin", c.WebhookOrigin, "a DNS name")
	}
	if (c.WebhookCert == "") != (c.WebhookCertKey == "") {
		return settings.NotAllowed("webhook-cert", c.WebhookCert, "both --webhook-cert and --webhook-cert-key, or neither")
	}
	return nil
}

// WebhookNetworks returns the networks of WebhookAllowCIDRs.
func (c *Config) WebhookNetworks() []netip.Prefix { return networks(c.WebhookAllowCIDRs) }

// WebhookSeal returns the bytes of WebhookKey, nil for none.
func (c *Config) WebhookSeal() []byte {
	key, _ := base64.StdEncoding.DecodeString(c.WebhookKey) // it was checked
	if len(key) == 0 {
		return nil
	}
	return key
}
