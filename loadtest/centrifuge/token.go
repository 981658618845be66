package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

var errToken = errors.New("invalid token")

// verify reads a connection token, which is signed by HS256.
func verify(token, secret string) (user string, channels []string, err error) {
	signed, signature, ok := cutLast(token)
	if !ok {
		return "", nil, errToken
	}
	sum, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return "", nil, errToken
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	if !hmac.Equal(sum, mac.Sum(nil)) {
		return "", nil, errToken
	}
	_, payload, _ := strings.Cut(signed, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", nil, errToken
	}
	var claims struct {
		User     string   `json:"sub"`
		Channels []string `json:"channels"`
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		return "", nil, errToken
	}
	return claims.User, claims.Channels, nil
}

func cutLast(token string) (signed, signature string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", "", false
	}
	return token[:i], token[i+1:], true
}
