package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/stall"
	"github.com/hark-push/hark/tracing"
	"github.com/hark-push/hark/webhook/dispatch"
)

// webhooks returns the service that owners of endpoints use, over the gateway's store.
func webhooks(ctx context.Context, s backends.Store, c config.Config, slots int, stalls *stall.Watch, tracer trace.Tracer, attempted func(time.Duration), log *slog.Logger) (*dispatch.Service, error) {
	o := dispatch.Options{
		AllowCIDRs: c.WebhookNetworks(), AllowHTTP: c.WebhookAllowHTTP, Key: c.WebhookSeal(),
		Challenge: dispatch.Challenge(c.WebhookChallenge), Origin: c.WebhookOrigin,
		DisableAfter: c.WebhookDisableAfter, Slots: slots, PerOwner: c.MaxEndpointsPerCaller, OneOffPerOwner: c.MaxOneOffsPerCaller,
		Events: func(ctx context.Context, owner string, after uint64) ([]*lifecycle.Event, uint64, error) {
			return ownerEvents(ctx, s, owner, after)
		},
		Text:      wire.JSON,
		Thin:      func(m dispatch.Message) []byte { return wire.ThinJSON(cmp.Or(m.Event, wire.Parse(m.Body))) },
		Transport: func(next http.RoundTripper) http.RoundTripper { return tracing.Transport(tracer, next) },
		Stall:     stalls,
		Attempted: attempted,
		Logger:    log,
	}
	if c.WebhookCA != "" {
		pem, err := os.ReadFile(c.WebhookCA)
		if err != nil {
			return nil, &config.Error{Key: "webhook-ca", Value: c.WebhookCA, Allowed: "a PEM file that can be read: " + err.Error()}
		}
		if o.RootCAs, err = x509.SystemCertPool(); err != nil {
			o.RootCAs = x509.NewCertPool()
		}
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &config.Error{Key: "webhook-ca", Value: c.WebhookCA, Allowed: "a PEM file with a certificate"}
		}
	}
	if c.WebhookCert != "" {
		pair, err := tls.LoadX509KeyPair(c.WebhookCert, c.WebhookCertKey)
		if err != nil {
			return nil, &config.Error{Key: "webhook-cert", Value: c.WebhookCert, Allowed: "PEM files of a certificate and its key: " + err.Error()}
		}
		o.Certificate = &pair
	}
	return dispatch.New(ctx, s, o)
}

// ownerEvents reads the feed of an owner's events.
func ownerEvents(ctx context.Context, source lifecycle.Source, owner string, after uint64) (events []*lifecycle.Event, last uint64, err error) {
	const page = 200
	feed := lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: owner}
	history, err := source.Read(ctx, feed.Key(), after, page)
	if err != nil {
		return nil, 0, err
	}
	for _, m := range history.Messages {
		events, last = append(events, m.Event), m.Offset
	}
	return events, last, nil
}
