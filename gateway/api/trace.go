package api

import (
	"errors"
	"strings"

	"github.com/gofiber/fiber/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/tracing"
)

// trace makes a span of each call, a child of the caller's if the call says which that is. That of
// a stream ends when the hub has the connection.
func (a *API) trace(c *fiber.Ctx) error {
	if !strings.HasPrefix(c.Path(), "/v1/") {
		return c.Next()
	}
	parent := tracing.Parent(c.Context(), strings.Clone(c.Get("Traceparent")), strings.Clone(c.Get("Tracestate")))
	ctx, span := a.Tracer.Start(parent, c.Method(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", strings.Clone(c.Method())),
		attribute.String("url.path", strings.Clone(c.Path())),
	))
	defer span.End()
	c.SetUserContext(ctx)
	err := c.Next()
	status := c.Response().StatusCode()
	if err != nil {
		status = a.status(err)
	}
	// The route is the pattern, of which there are few.
	if route := c.Route().Path; strings.HasPrefix(route, "/v1/") {
		span.SetName(c.Method() + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= fiber.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	return err
}

// status returns the status that an error is answered with.
func (a *API) status(err error) int {
	if p, ok := errors.AsType[*problem.Details](err); ok {
		return p.Kind.Status
	}
	return a.asProblem(err).Kind.Status
}

// traced puts the span of a call into the headers that a request keeps of it, so that what follows
// is its child.
func (a *API) traced(c *fiber.Ctx, headers map[string]string) map[string]string {
	if a.Tracer == nil {
		return headers
	}
	traceparent, tracestate := tracing.Context(c.UserContext())
	if headers == nil {
		headers = make(map[string]string, 2)
	}
	headers["Traceparent"] = traceparent
	if delete(headers, "Tracestate"); tracestate != "" {
		headers["Tracestate"] = tracestate
	}
	return headers
}
