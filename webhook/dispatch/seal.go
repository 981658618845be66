package dispatch

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// vault seals secrets before they go into the store, with AES-256-GCM. What it stores
// says in its first byte whether it is sealed, so that a key can be introduced later.
type vault struct {
	aead cipher.AEAD // nil: nothing is sealed
}

const (
	plain  = 0
	sealed = 1
)

var errSealed = errors.New("a webhook secret is sealed with another key, or damaged")

func newVault(key []byte) (*vault, error) {
	if len(key) == 0 {
		return &vault{}, nil
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("webhook key: %d bytes, want 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &vault{aead: aead}, err
}

// seal hides a value. context is what it belongs to, so that it is of no use elsewhere.
func (v *vault) seal(value, context string) []byte {
	if v.aead == nil {
		return append([]byte{plain}, value...)
	}
	out := make([]byte, 1+v.aead.NonceSize(), 1+v.aead.NonceSize()+len(value)+v.aead.Overhead())
	out[0] = sealed
	_, _ = rand.Read(out[1:])                                        // never fails, see crypto/rand
	return v.aead.Seal(out, out[1:], []byte(value), []byte(context)) //nolint:gosec // the nonce is random, see above
}

// open returns what was sealed.
func (v *vault) open(value []byte, context string) (string, error) {
	switch {
	case len(value) > 0 && value[0] == plain:
		return string(value[1:]), nil
	case v.aead == nil || len(value) < 1+v.aead.NonceSize() || value[0] != sealed:
		return "", errSealed
	}
	nonce, rest := value[1:1+v.aead.NonceSize()], value[1+v.aead.NonceSize():]
	text, err := v.aead.Open(nil, nonce, rest, []byte(context))
	if err != nil {
		return "", errSealed
	}
	return string(text), nil
}
