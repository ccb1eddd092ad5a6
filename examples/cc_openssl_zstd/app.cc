#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <zstd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

int main() {
    const std::string text(1000, 'x');
    std::vector<char> packed(ZSTD_compressBound(text.size()));
    const size_t size = ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3);
    if (ZSTD_isError(size)) {
        std::fprintf(stderr, "zstd: %s\n", ZSTD_getErrorName(size));
        return 1;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    if (EVP_Digest(packed.data(), size, digest, &digest_size, EVP_sha256(), nullptr) != 1 || digest_size != 32) {
        std::fprintf(stderr, "openssl: no SHA-256\n");
        return 1;
    }
    // Something of libssl as well, which needs libcrypto.
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    if (!context) {
        std::fprintf(stderr, "openssl: no TLS\n");
        return 1;
    }
    std::printf("%s\nzstd %s\n", OpenSSL_version(OPENSSL_VERSION), ZSTD_versionString());
    return 0;
}
