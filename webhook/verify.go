package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far the timestamp of a delivery may be from the receiver's clock,
// either way.
const Tolerance = 5 * time.Minute

// Why a delivery is refused.
var (
	ErrHeaders   = errors.New("webhook headers are missing or malformed")
	ErrTooOld    = errors.New("webhook timestamp is too old")
	ErrTooNew    = errors.New("webhook timestamp is in the future")
	ErrSignature = errors.New("no webhook signature matches")
)

// Verify checks a delivery: that one of its signatures was made by one of the keys over
// exactly this body, and that it is not older than [Tolerance], so that it cannot be
// played again later. now is the receiver's clock. Whoever must not act twice on one
// message also remembers its id for that long, which is the same at every attempt.
//
// Signatures of versions that are not known are passed over. It takes the same time
// whichever signature matches.
func Verify(h http.Header, body []byte, now time.Time, keys ...Key) error {
	id, timestamp, signatures := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || strings.Contains(id, ".") || signatures == "" || err != nil || strconv.FormatInt(seconds, 10) != timestamp {
		return ErrHeaders
	}
	at := time.Unix(seconds, 0)
	switch {
	case at.Before(now.Add(-Tolerance)):
		return ErrTooOld
	case at.After(now.Add(Tolerance)):
		return ErrTooNew
	}
	message := signed(id, timestamp, body)
	matches := false
	for signature := range strings.FieldsSeq(signatures) {
		version, encoded, _ := strings.Cut(signature, ",")
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil { // or in another spelling than the one that [Sign] writes
			continue
		}
		for _, k := range keys {
			switch {
			case version == "v1" && k.secret != nil:
				matches = hmac.Equal(raw, k.mac(message)) || matches
			case version == "v1a" && k.public != nil:
				matches = ed25519.Verify(k.public, message, raw) || matches
			}
		}
	}
	if !matches {
		return ErrSignature
	}
	return nil
}
