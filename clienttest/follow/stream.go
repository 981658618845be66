package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	donovanhide "github.com/donovanhide/eventsource"
	launchdarkly "github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

func r3labsClient(ctx context.Context, f *follower) {
	client := r3labs.NewClient(f.url)
	client.OnConnect(func(*r3labs.Client) { f.open() })
	client.ReconnectNotify = func(err error, _ time.Duration) { f.failed(err) }
	f.over(client.SubscribeRawWithContext(ctx, func(e *r3labs.Event) {
		f.event(string(e.Event), string(e.Data), string(e.ID))
	}))
}

func launchdarklyClient(ctx context.Context, f *follower) {
	stream, err := launchdarkly.SubscribeWithURL(f.url, launchdarkly.StreamOptionErrorHandler(func(err error) launchdarkly.StreamErrorHandlerResult {
		f.failed(err)
		return launchdarkly.StreamErrorHandlerResult{}
	}))
	if err != nil {
		f.over(err)
		return
	}
	f.open()
	for {
		select {
		case e, ok := <-stream.Events:
			if !ok {
				f.over(nil)
				return
			}
			f.event(e.Event(), e.Data(), e.Id())
		case <-ctx.Done():
			stream.Close()
			for range stream.Events { // until it is closed, as its documentation asks for
			}
			return
		}
	}
}

func donovanhideClient(ctx context.Context, f *follower) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, http.NoBody)
	if err != nil {
		f.over(err)
		return
	}
	stream, err := donovanhide.SubscribeWith("", &http.Client{}, request)
	if err != nil {
		f.over(err)
		return
	}
	f.open()
	for {
		select {
		case e, ok := <-stream.Events:
			if !ok {
				f.over(nil)
				return
			}
			f.event(e.Event(), e.Data(), e.Id())
		case err := <-stream.Errors:
			// It is not closed when ctx ends: Close closes channels to which it may be sending.
			// Without a listener it waits for ever, silently.
			f.failed(err)
		case <-ctx.Done():
			return
		}
	}
}

func tmaxmaxClient(ctx context.Context, f *follower) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, http.NoBody)
	if err != nil {
		f.over(err)
		return
	}
	client := tmaxmax.Client{OnRetry: func(err error, _ time.Duration) { f.failed(err) }}
	connection := client.NewConnection(request)
	connection.SubscribeToAll(func(e tmaxmax.Event) { f.event(e.Type, e.Data, e.LastEventID) })
	f.over(connection.Connect())
}

// tmaxmaxRead is a loop over the reader of the library, which does not come back by itself: whoever
// writes it keeps the cursor, and tries again after an error. Read does not tell what the server
// says in retry.
func tmaxmaxRead(ctx context.Context, f *follower) {
	cursor := ""
	attempt := func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, http.NoBody)
		if err != nil {
			return err
		}
		request.Header.Set("Accept", "text/event-stream")
		if cursor != "" {
			request.Header.Set("Last-Event-ID", cursor)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return refused(response.StatusCode)
		}
		f.open()
		for e, err := range tmaxmax.Read(response.Body, nil) {
			if err != nil {
				return err
			}
			if e.LastEventID != "" { // it knows those of this body only
				cursor = e.LastEventID
			}
			f.event(e.Type, e.Data, e.LastEventID)
		}
		return nil
	}
	for {
		err := attempt()
		if status, ok := errors.AsType[refused](err); err == nil || ok && status < http.StatusInternalServerError {
			f.over(err)
			return
		}
		f.failed(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// pause is how long a loop waits that is not told.
const pause = 100 * time.Millisecond

// refused is the status of an answer that is no stream.
type refused int

func (r refused) Error() string { return http.StatusText(int(r)) }
