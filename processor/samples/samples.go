// Package samples holds processors that do real work: they resize images, read
// web pages, send mail, take their time, and echo. They are what a gateway runs when nothing
// else is configured, and examples of handlers to learn from.
//
// A new one is a file of its own with the handler and its options, an entry in [Options] and
// [Handlers], its flags in [Flags], which the gateway and the worker take both, and its test.
package samples

import (
	"context"

	"github.com/hark-push/hark/processor"
)

// Options of the samples. The zero value works.
type Options struct {
	Images ImagesOptions
	Fetch  FetchOptions
	Mail   MailOptions
}

// Handlers returns the sample of each route:
//
//	echo     returns the content, see [Echo]
//	images   makes smaller sizes of an image, see [Images]
//	fetch    reads a web page, see [Fetch]
//	sleep    takes its time, see [Sleep]
//	mail     sends a mail, see [Mail]; only with a server in the options
func Handlers(o Options) map[string]processor.Handler {
	handlers := map[string]processor.Handler{
		"echo":   processor.HandlerFunc(Echo),
		"images": NewImages(o.Images),
		"fetch":  NewFetch(o.Fetch),
		"sleep":  processor.HandlerFunc(Sleep),
	}
	if o.Mail.Server != nil {
		handlers["mail"] = NewMail(o.Mail)
	}
	return handlers
}

// Echo returns the content byte for byte with its media type; nothing if there
// is none.
func Echo(_ context.Context, job *processor.Job) (processor.Result, error) {
	if len(job.Content.Data) == 0 {
		return processor.Result{}, nil
	}
	return processor.Bytes(job.Content.Type, job.Content.Data), nil
}
