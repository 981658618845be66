package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
)

// signed returns a JSON Web Token signed by HS256.
func signed(header, claims map[string]any, secret string) string {
	header["alg"] = "HS256"
	encoded := func(v any) string {
		text, _ := json.Marshal(v) // maps of strings, numbers and lists
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := encoded(header) + "." + encoded(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
