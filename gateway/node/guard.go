package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/config"
)

// guard returns what tells who calls. The key of tickets is made once and kept in the store,
// because a ticket of one node is good at all.
func guard(ctx context.Context, s backends.Store, c config.Config, log *slog.Logger) (*auth.Guard, error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails, see crypto/rand
	key, err := s.PutIfAbsent(ctx, "ticket-key", fresh)
	if err != nil {
		return nil, fmt.Errorf("key of tickets: %w", err)
	}
	g, err := auth.New(auth.Options{
		Keys: c.Keys,
		Tokens: auth.TokenOptions{
			Secret: []byte(c.JWTSecret), KeyFile: c.JWTKeys, JWKS: c.JWKSURL,
			Issuer: c.JWTIssuer, Audience: c.JWTAudience, Roles: c.JWTRoles, RequireExpiry: c.JWTRequireExp,
		},
		TicketKey: key, TicketLife: c.TicketLife, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if strings.HasPrefix(c.JWKSURL, "http://") {
		log.Warn("the keys of tokens come without TLS: whoever stands between may replace them", slog.String("url", c.JWKSURL))
	}
	return g, nil
}
