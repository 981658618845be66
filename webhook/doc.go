// Package webhook signs and verifies webhook deliveries by the Standard Webhooks
// specification 1.0: HMAC-SHA256 with a shared secret (v1) and ed25519 (v1a).
//
// Receivers may use it by itself; it needs nothing but the standard library. What
// delivers is in package dispatch.
package webhook
