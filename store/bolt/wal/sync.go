//go:build !linux || portable

package wal

import "os"

type dataFile struct{ *os.File }
