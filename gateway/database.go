//go:build database

package main

// Which make the gateway a fifth larger.
import _ "github.com/hark-push/hark/processor/samples/drivers"
