package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of a delivery, see the Standard Webhooks specification 1.0.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// The prefixes of keys when they are written down.
const (
	prefixSecret  = "whsec_" // a shared secret
	prefixPrivate = "whsk_"  // what signs with ed25519
	prefixPublic  = "whpk_"  // what verifies that
)

// The sizes of a shared secret in bytes, by the specification.
const (
	minSecret = 24
	maxSecret = 64
)

// Key signs, verifies, or does both. The zero Key does neither.
type Key struct {
	secret  []byte             // v1
	private ed25519.PrivateKey // v1a
	public  ed25519.PublicKey  // v1a; also of private
}

// ErrKey is the error of a key that is not one.
var ErrKey = errors.New("not a webhook key")

// NewSecret returns a new shared secret of 32 bytes.
func NewSecret() Key {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	return Key{secret: secret}
}

// NewPrivateKey returns a new key pair for v1a.
func NewPrivateKey() Key {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // never: the source of random bytes does not fail
	}
	return Key{private: private, public: public}
}

// ParseKey reads a key as it is written down: whsec_ and 24 to 64 bytes in base64, or whsk_
// or whpk_ and the bytes of an ed25519 key. Errors wrap [ErrKey] and do not show the key.
func ParseKey(text string) (Key, error) {
	kind, encoded := "", ""
	for _, prefix := range []string{prefixSecret, prefixPrivate, prefixPublic} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			kind, encoded = prefix, rest
		}
	}
	if kind == "" {
		return Key{}, fmt.Errorf("%w: it begins with none of whsec_, whsk_ and whpk_", ErrKey)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return Key{}, fmt.Errorf("%w: what follows %s is not base64", ErrKey, kind)
	}
	switch {
	case kind == prefixSecret && len(raw) >= minSecret && len(raw) <= maxSecret:
		return Key{secret: raw}, nil
	case kind == prefixPrivate && len(raw) == ed25519.PrivateKeySize:
		private := ed25519.PrivateKey(raw)
		public, ok := private.Public().(ed25519.PublicKey)
		if !ok || !public.Equal(ed25519.NewKeyFromSeed(private.Seed()).Public()) {
			return Key{}, fmt.Errorf("%w: the halves of the private key do not belong together", ErrKey)
		}
		return Key{private: private, public: public}, nil
	case kind == prefixPublic && len(raw) == ed25519.PublicKeySize:
		return Key{public: raw}, nil
	}
	return Key{}, fmt.Errorf("%w: %d bytes are too few or too many", ErrKey, len(raw))
}

// String writes the key down, with all that it can do. Whoever may only verify
// gets that of [Key.Public].
func (k Key) String() string {
	switch {
	case k.secret != nil:
		return prefixSecret + base64.StdEncoding.EncodeToString(k.secret)
	case k.private != nil:
		return prefixPrivate + base64.StdEncoding.EncodeToString(k.private)
	case k.public != nil:
		return prefixPublic + base64.StdEncoding.EncodeToString(k.public)
	}
	return ""
}

// GoString keeps keys out of logs that print values.
func (k Key) GoString() string { return "webhook.Key{…}" }

// Public returns the half of a key pair that verifies; the zero Key of a shared secret.
func (k Key) Public() Key { return Key{public: k.public} }

// Sign returns the value of the signature header: a signature by each key that can sign, separated
// by spaces, so that a receiver may have either of two keys while they are exchanged. The id must
// not be empty or have a dot.
func Sign(id string, at time.Time, body []byte, keys ...Key) (string, error) {
	if id == "" || strings.Contains(id, ".") {
		return "", fmt.Errorf("webhook id %q: it must be there and have no dot", id)
	}
	message := signed(id, strconv.FormatInt(at.Unix(), 10), body)
	var signatures []string
	for _, k := range keys {
		switch {
		case k.secret != nil:
			signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(k.mac(message)))
		case k.private != nil:
			signatures = append(signatures, "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, message)))
		}
	}
	if len(signatures) == 0 {
		return "", fmt.Errorf("%w: none of %d can sign", ErrKey, len(keys))
	}
	return strings.Join(signatures, " "), nil
}

// signed is what a signature is over.
func signed(id, timestamp string, body []byte) []byte {
	message := make([]byte, 0, len(id)+len(timestamp)+len(body)+2)
	message = append(append(message, id...), '.')
	message = append(append(message, timestamp...), '.')
	return append(message, body...)
}

func (k Key) mac(message []byte) []byte {
	h := hmac.New(sha256.New, k.secret)
	_, _ = h.Write(message) // never fails
	return h.Sum(nil)
}
