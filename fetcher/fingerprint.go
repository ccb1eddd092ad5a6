package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// newFingerprint is for the repository rules: Bazel would sum up the program once for each library to see whether it is
// another one; and Go, which has linked the program, keeps it where it may delete it.
func newFingerprint() *cobra.Command {
	var destination string
	cmd := &cobra.Command{
		Use:    "fingerprint",
		Short:  "Print the SHA-256 of this program",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := os.Executable()
			if err != nil {
				return err
			}
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			var program io.Reader = f
			var kept *os.File
			if destination != "" {
				if kept, err = os.OpenFile(destination, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755); err != nil {
					return err
				}
				program = io.TeeReader(f, kept)
			}
			h := sha256.New()
			_, err = io.Copy(h, program)
			if kept != nil {
				err = errors.Join(err, kept.Close())
			}
			if err != nil {
				return err
			}
			return new(output).print(newTalk(cmd), nil, hex.EncodeToString(h.Sum(nil)))
		},
	}
	cmd.Flags().StringVar(&destination, "copy", "", "copy the program to this `file`")
	return cmd
}
