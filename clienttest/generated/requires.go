// Package generated holds nothing but its go.mod, which pins the generators of Go clients as tools,
// and what the clients that they make import. The test puts those clients, and the programs of
// docs/generators.md that use them, beside a copy of it.
package generated

import (
	_ "github.com/go-faster/errors"     // ogen
	_ "github.com/go-faster/jx"         // ogen
	_ "github.com/oapi-codegen/runtime" // oapi-codegen
	_ "github.com/ogen-go/ogen/conv"    // ogen
	_ "github.com/tmaxmax/go-sse"       // reads the stream for oapi-codegen
)
