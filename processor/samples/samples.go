// Package samples holds processors that do real work: they resize images, read
// web pages, take their time, and echo. They are what a gateway runs when nothing
// else is configured, and examples of handlers to learn from.
package samples

import (
	"context"

	"github.com/hark-push/hark/processor"
)

// Options of the samples. The zero value works.
type Options struct {
	Images ImagesOptions
	Fetch  FetchOptions
}

// Handlers returns the sample of each route:
//
//	echo     returns the content, see [Echo]
//	images   makes smaller sizes of an image, see [Images]
//	fetch    reads a web page, see [Fetch]
//	sleep    takes its time, see [Sleep]
func Handlers(o Options) map[string]processor.Handler {
	return map[string]processor.Handler{
		"echo":   processor.HandlerFunc(Echo),
		"images": NewImages(o.Images),
		"fetch":  NewFetch(o.Fetch),
		"sleep":  processor.HandlerFunc(Sleep),
	}
}

// Echo returns the content byte for byte with its media type; nothing if there
// is none.
func Echo(_ context.Context, job *processor.Job) (processor.Result, error) {
	if len(job.Content.Data) == 0 {
		return processor.Result{}, nil
	}
	return processor.Bytes(job.Content.Type, job.Content.Data), nil
}
