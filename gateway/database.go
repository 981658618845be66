//go:build database

package main

import _ "github.com/hark-push/hark/processor/samples/drivers" // which make the gateway a fifth larger
