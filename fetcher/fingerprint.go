package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// newFingerprint is for the repository rules: Bazel would sum up the program once for each library to see whether it is
// another one.
func newFingerprint() *cobra.Command {
	return &cobra.Command{
		Use:    "fingerprint",
		Short:  "Print the SHA-256 of this program",
		Args:   cobra.NoArgs,
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
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			return new(output).print(newTalk(cmd), nil, hex.EncodeToString(h.Sum(nil)))
		},
	}
}
