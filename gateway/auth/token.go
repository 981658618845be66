package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hark-push/hark/gateway/strictjson"
	"github.com/hark-push/hark/lifecycle"
)

// TokenOptions say which JSON Web Tokens (RFC 7519) are taken: those that one of the keys signed.
type TokenOptions struct {
	Secret   []byte // of HS256, HS384 and HS512; at least 32 bytes (RFC 7518, section 3.2)
	KeyFile  string // PEM file of public keys or certificates, of RS*, PS*, ES* and EdDSA
	JWKS     string // URL of a set of public keys (RFC 7517)
	Issuer   string // that the claim iss must name; "" for any
	Audience string // that the claim aud must name; "" for any
	// Roles is the claim with the caller's roles: its name, which may have dots in it, or the way
	// to it, its parts divided by dots; default "roles".
	Roles string
	// RequireExpiry refuses tokens without the claim exp.
	RequireExpiry bool
}

func (o TokenOptions) any() bool { return len(o.Secret) > 0 || o.KeyFile != "" || o.JWKS != "" }

// skew is how far the clock of who issued a token may be ahead of ours: what it says of nbf and iat
// may be that far in the future. No token is taken for longer than exp says.
const skew = 30 * time.Second

// lastDate is the end of the year 9999, in seconds: no claim that is a time may be later, because
// what is made of larger numbers is chance. They are no times, but mistakes, as of milliseconds for
// seconds.
const lastDate = 253402300799

// tokens checks JSON Web Tokens. What signs symmetrically and what does not have separate keys, so
// that a public key is never taken for a secret (RFC 8725, section 2.1).
type tokens struct {
	parser    *jwt.Parser
	secret    []byte
	public    []crypto.PublicKey
	published *published // keys of a URL, nil for none
	roles     []string   // path of the claim
	expiring  bool       // a token has to say when it ends
	proven    proven
}

func newTokens(o TokenOptions, log *slog.Logger) (*tokens, error) {
	t := &tokens{secret: o.Secret, roles: strings.Split(o.Roles, "."), expiring: o.RequireExpiry}
	if o.Roles == "" {
		t.roles = []string{"roles"}
	}
	var methods []string
	if len(o.Secret) > 0 {
		methods = append(methods, "HS256", "HS384", "HS512")
	}
	if o.KeyFile != "" || o.JWKS != "" {
		methods = append(methods, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
	}
	if o.KeyFile != "" {
		var err error
		if t.public, err = readPublicKeys(o.KeyFile); err != nil {
			return nil, err
		}
	}
	if o.JWKS != "" {
		t.published = newPublished(o.JWKS, log)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithLeeway(skew), jwt.WithIssuedAt(), jwt.WithStrictDecoding()}
	if o.Issuer != "" {
		options = append(options, jwt.WithIssuer(o.Issuer))
	}
	if o.Audience != "" {
		options = append(options, jwt.WithAudience(o.Audience))
	}
	t.parser = jwt.NewParser(options...)
	return t, nil
}

// caller returns who is behind a token.
func (t *tokens) caller(text string) (Caller, error) {
	digest, now := sha256.Sum256([]byte(text)), time.Now()
	c, known := t.proven.caller(digest, now)
	if !known {
		var err error
		if c, err = t.check(text); err != nil {
			return Caller{}, err
		}
		t.proven.add(digest, c, now)
	}
	if !c.Expires.IsZero() && !now.Before(c.Expires) {
		return Caller{}, expired("The token has expired.")
	}
	return c, nil
}

// check returns who is behind a token, which may have expired up to skew ago.
func (t *tokens) check(text string) (Caller, error) {
	claims := jwt.MapClaims{}
	if _, err := t.parser.ParseWithClaims(text, claims, t.keysOf); err != nil {
		return Caller{}, refusal(err)
	}
	if err := exactClaims(text); err != nil {
		return Caller{}, err
	}
	c := Caller{}
	for _, name := range []string{"exp", "nbf", "iat"} {
		value, said := claims[name]
		if !said {
			continue
		}
		seconds, ok := value.(float64)
		if !ok || math.Abs(seconds) > lastDate {
			return Caller{}, &TokenError{"The token's " + name + " is not a time in seconds."}
		}
		if name == "exp" {
			if seconds <= 0 { // which the parser takes for none
				return Caller{}, expired("The token has expired.")
			}
			c.Expires = time.UnixMilli(int64(seconds * 1000))
		}
	}
	if t.expiring && c.Expires.IsZero() {
		return Caller{}, &TokenError{"The token does not say when it expires: this gateway takes only those that have the claim exp."}
	}
	subject, err := claims.GetSubject()
	if err != nil || subject == "" {
		return Caller{}, &TokenError{"The token does not name its subject."}
	}
	if !validSubject(subject) {
		return Caller{}, &TokenError{"The token's subject is not 1 to 256 bytes of Unicode without control characters."}
	}
	c.Subject, c.Roles = subject, rolesIn(claims, t.roles)
	return c, nil
}

// exactClaims refuses a token whose parts can be read in more than one way (RFC 7519, section 4),
// or hold what is no Unicode: two subjects would be one.
func exactClaims(text string) error {
	header, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	for _, part := range []string{header, payload} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || !json.Valid(raw) {
			return &TokenError{"The token is malformed."}
		}
		if faults := strictjson.Check(raw, "", 1); len(faults) > 0 {
			return &TokenError{"The token is malformed: what it says is not Unicode, or stands there twice."}
		}
	}
	return nil
}

// keysOf returns the keys that may have signed a token.
func (t *tokens) keysOf(token *jwt.Token) (any, error) {
	// RFC 7515, section 4.1.11: who does not understand it must refuse.
	if _, critical := token.Header["crit"]; critical {
		return nil, errors.New("critical header parameters are not understood")
	}
	if _, symmetric := token.Method.(*jwt.SigningMethodHMAC); symmetric {
		return t.secret, nil
	}
	var set jwt.VerificationKeySet
	for _, k := range t.public {
		if fits(token.Method, k) {
			set.Keys = append(set.Keys, k)
		}
	}
	if t.published != nil {
		found, err := t.published.keysOf(token)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, found...)
	}
	return set, nil
}

// fits reports whether a key is of the kind that a method signs with.
func fits(method jwt.SigningMethod, k crypto.PublicKey) bool {
	switch method := method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		_, ok := k.(*rsa.PublicKey)
		return ok
	case *jwt.SigningMethodECDSA:
		public, ok := k.(*ecdsa.PublicKey)
		return ok && public.Curve.Params().BitSize == method.CurveBits
	case *jwt.SigningMethodEd25519:
		_, ok := k.(ed25519.PublicKey)
		return ok
	}
	return false
}

// refusal says why a token is not taken.
func refusal(err error) error {
	if errors.Is(err, lifecycle.ErrUnavailable) {
		return err
	}
	detail := "The token is not one that this gateway takes."
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired("The token has expired.")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		detail = "The token is not valid yet."
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		detail = "The token comes from another issuer."
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		detail = "The token is for another audience."
	case errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, jwt.ErrInvalidType):
		detail = "The token is malformed."
	}
	return &TokenError{detail}
}

// rolesIn returns the roles that a claim names: a list, or a text with spaces between. Names that
// are no role are meant for others. A token that does not say is that of a client.
func rolesIn(claims jwt.MapClaims, path []string) []lifecycle.Role {
	var names []string
	switch v := claimAt(map[string]any(claims), path).(type) {
	case nil:
		return []lifecycle.Role{lifecycle.RoleClient}
	case string:
		names = strings.Fields(v)
	case []any:
		for _, item := range v {
			if name, ok := item.(string); ok {
				names = append(names, name)
			}
		}
	}
	var roles []lifecycle.Role
	for _, name := range names {
		if r, ok := role(name); ok && !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	return roles
}

// claimAt returns what stands at the end of a path, nil if nothing does. Names may have dots in
// them, as those that are URLs (RFC 7519, section 4.2): of the names that the path may begin with
// the longest that is there counts.
func claimAt(object map[string]any, path []string) any {
	for n := len(path); n > 0; n-- {
		value, ok := object[strings.Join(path[:n], ".")]
		if !ok {
			continue
		}
		if n == len(path) {
			return value
		}
		inner, _ := value.(map[string]any)
		return claimAt(inner, path[n:])
	}
	return nil
}

// readPublicKeys reads the public keys and certificates of a PEM file.
func readPublicKeys(path string) ([]crypto.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []crypto.PublicKey
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		var k crypto.PublicKey
		switch block.Type {
		case "PUBLIC KEY":
			k, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			k, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var certificate *x509.Certificate
			if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
				k = certificate.PublicKey
			}
		default:
			err = fmt.Errorf("%q is not a public key", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if !strong(k) {
			return nil, fmt.Errorf("%s: the key is not RSA of at least 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519", path)
		}
		found = append(found, k)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: there is no PEM block of a public key or a certificate", path)
	}
	return found, nil
}

// strong reports whether a key is of a kind that tokens may be signed with (RFC 7518, section 3.3).
func strong(k crypto.PublicKey) bool {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize >= 256
	case ed25519.PublicKey:
		return true
	}
	return false
}
