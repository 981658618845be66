// Package samples holds processors that do real work: they resize images, read web pages, send
// mail, write records, take their time, and echo. They are what a gateway runs when nothing else is
// configured, and examples of handlers to learn from.
//
// A new one is a file of its own with the handler and its options, an entry in [Options] and
// [Handlers], its flags in [Flags], which the gateway and the worker take both, and its test.
package samples

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/hark-push/hark/processor"
)

// Options of the samples. The zero value works.
type Options struct {
	Images   ImagesOptions
	Fetch    FetchOptions
	Mail     MailOptions
	Database DatabaseOptions
	// Logger is told of servers behind the samples what users are not. Nil: nobody is.
	Logger *slog.Logger
}

// Handlers returns the sample of each route, to be ended by [Close]:
//
//	echo      returns the content, see [Echo]
//	images    makes smaller sizes of an image, see [Images]
//	fetch     reads a web page, see [Fetch]
//	sleep     takes its time, see [Sleep]
//	mail      sends a mail, see [Mail]; only with a server in the options
//	database  writes a record, see [Database]; only with a DSN in the options
func Handlers(o Options) (map[string]processor.Handler, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	handlers := map[string]processor.Handler{
		"echo":   processor.HandlerFunc(Echo),
		"images": NewImages(o.Images),
		"fetch":  NewFetch(o.Fetch),
		"sleep":  processor.HandlerFunc(Sleep),
	}
	if o.Mail.Server != nil {
		handlers["mail"] = NewMail(o.Mail, o.Logger)
	}
	if o.Database.DSN != "" {
		database, err := NewDatabase(o.Database, o.Logger)
		if err != nil {
			return nil, err
		}
		handlers["database"] = database
	}
	return handlers, nil
}

// Close closes what handlers hold open.
func Close(handlers map[string]processor.Handler) error {
	var errs []error
	for _, handler := range handlers {
		if c, ok := handler.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Echo returns the content byte for byte with its media type; nothing if there
// is none.
func Echo(_ context.Context, job *processor.Job) (processor.Result, error) {
	if len(job.Content.Data) == 0 {
		return processor.Result{}, nil
	}
	return processor.Bytes(job.Content.Type, job.Content.Data), nil
}
