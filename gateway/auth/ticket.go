package auth

import (
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hark-push/hark/lifecycle"
)

// tickets signs and checks tickets. A ticket is a JSON Web Token of our own, signed with a key that
// signs nothing else, so that neither a ticket is taken for a token nor a token for a ticket.
type tickets struct {
	key  []byte
	life time.Duration
}

// ticketClaims are what a ticket says.
type ticketClaims struct {
	// sub: the caller's subject; exp: until when it lets somebody begin to follow.
	jwt.RegisteredClaims
	Request string `json:"req"`
	Life    string `json:"life,omitempty"` // of the request
	// The expiry of what proved who the caller is.
	Until *jwt.NumericDate `json:"unt,omitempty"`
	// The id of the API key that proved it.
	Key string `json:"key,omitempty"`
}

func (t tickets) sign(c Caller, request lifecycle.Ref) (string, error) {
	expires := time.Now().Add(t.life)
	claims := ticketClaims{Request: request.ID, Life: request.Life}
	claims.Subject = c.Subject
	if !c.Expires.IsZero() {
		claims.Until = jwt.NewNumericDate(c.Expires)
		if c.Expires.Before(expires) {
			expires = c.Expires
		}
	}
	claims.ExpiresAt = jwt.NewNumericDate(expires)
	if c.key != nil {
		claims.Key = c.key.id
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(t.key)
}

// What a ticket's times mean is decided by caller: beginning and going on have each their own.
var ticketParser = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())

// caller returns who is behind a ticket, and the id of the API key that it rests on, "" for none.
// resumes tells whether the call goes on with following a request, for which a ticket is good as
// long as what it rests on; nil: it does not.
func (t tickets) caller(text string, resumes func(request string) bool) (c Caller, keyID string, err error) {
	var claims ticketClaims
	_, err = ticketParser.ParseWithClaims(text, &claims, func(*jwt.Token) (any, error) { return t.key, nil })
	if err != nil || claims.Request == "" || claims.ExpiresAt == nil {
		return Caller{}, "", &TokenError{"The ticket is not one of this gateway."}
	}
	now := time.Now()
	c.Principal = lifecycle.Principal{Subject: claims.Subject, Request: lifecycle.Ref{ID: claims.Request, Life: claims.Life}}
	if claims.Until != nil {
		c.Expires = claims.Until.Time
		if !now.Before(c.Expires) {
			return Caller{}, "", expired("What the ticket rests on has expired. The request's status has a new one, with ?ticket=true.")
		}
	}
	if !now.Before(claims.ExpiresAt.Time) && (resumes == nil || !resumes(claims.Request)) {
		return Caller{}, "", expired("The ticket has expired. The request's status has a new one, with ?ticket=true; to go on with an offset that is known this one still does.")
	}
	return c, claims.Key, nil
}
