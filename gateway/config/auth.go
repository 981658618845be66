package config

import (
	"net/url"
	"strings"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/settings"
)

// Keyed reports whether callers have to prove who they are.
func (c *Config) Keyed() bool {
	return c.Keys != "" || c.JWTSecret != "" || c.JWTKeys != "" || c.JWKSURL != ""
}

func (c *Config) checkAuth() error {
	if c.JWTSecret != "" && len(c.JWTSecret) < 32 {
		return settings.NotAllowed("jwt-secret", "(hidden)", "at least 32 bytes, as from: openssl rand -base64 32")
	}
	if c.JWKSURL != "" {
		u, err := url.Parse(c.JWKSURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return settings.NotAllowed("jwks-url", c.JWKSURL, "an https URL")
		}
	}
	if c.JWTRoles == "" || strings.Contains("."+c.JWTRoles+".", "..") {
		return settings.NotAllowed("jwt-roles", c.JWTRoles, "the name of a claim, like roles or realm_access.roles")
	}
	about := []struct{ key, value string }{{"jwt-issuer", c.JWTIssuer}, {"jwt-audience", c.JWTAudience}}
	if c.JWTRoles != "roles" {
		about = append(about, struct{ key, value string }{"jwt-roles", c.JWTRoles})
	}
	if c.JWTRequireExp {
		about = append(about, struct{ key, value string }{"jwt-require-exp", "true"})
	}
	for _, claim := range about { // which would have no effect
		if claim.value != "" && c.JWTSecret == "" && c.JWTKeys == "" && c.JWKSURL == "" {
			return settings.NotAllowed(claim.key, claim.value, "one of --jwt-secret, --jwt-keys and --jwks-url beside it")
		}
	}
	return nil
}

// NewKeyEntry returns the API key that --new-key asks for, and its entry in the file of keys.
func (c *Config) NewKeyEntry() (key, entry string, err error) {
	subject, roles, named := strings.Cut(c.NewKey, ":")
	if !named {
		roles = "client"
	}
	key, entry, err = auth.NewKey(subject, strings.Split(roles, ","))
	if err != nil {
		return "", "", settings.NotAllowed("new-key", c.NewKey, "SUBJECT or SUBJECT:ROLE,…, like billing:client,processor: "+err.Error())
	}
	return key, entry, nil
}
