package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/hark-push/hark/webhook"
)

// startReceiver has the SDK of CloudEvents receive, as it shows it, with its own answer to the
// handshake. It verifies no signature.
func startReceiver(listener net.Listener, note events) error {
	type origin struct{}
	client, err := cloudevents.NewClientHTTP(
		cloudevents.WithListener(listener),
		cloudevents.WithDefaultOptionsHandlerFunc([]string{http.MethodPost}, 600, []string{"hooks.example.org"}, true),
		cloudevents.WithMiddleware(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), origin{}, r.Header.Get("WebHook-Request-Origin"))))
			})
		}),
	)
	if err != nil {
		return err
	}
	return client.StartReceiver(context.Background(), func(ctx context.Context, event cloudevents.Event) error {
		text, err := json.Marshal(event)
		if err != nil {
			return err
		}
		from, _ := ctx.Value(origin{}).(string)
		return note.note(seen{Event: text, Origin: from})
	})
}

// cloudEventsRecipe is the same, and believes only what is signed.
func cloudEventsRecipe(listener net.Listener, key webhook.Key, note events) error {
	handle := func(event cloudevents.Event) error {
		text, err := json.Marshal(event)
		if err != nil {
			return err
		}
		return note.verified(text)
	}
	// recipe: sdk-go
	verify := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			if r.Method == http.MethodPost && (err != nil || webhook.Verify(r.Header, body, time.Now(), key) != nil) {
				http.Error(w, "not verified", http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		})
	}
	client, err := cloudevents.NewClientHTTP(
		cloudevents.WithListener(listener),
		cloudevents.WithMiddleware(verify),
		cloudevents.WithDefaultOptionsHandlerFunc([]string{http.MethodPost}, 600, []string{"hooks.example.org"}, true),
	)
	if err != nil {
		return err
	}
	return client.StartReceiver(context.Background(), handle)
	// end
}
