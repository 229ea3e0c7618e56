# The Python versions to fetch wheels for. A release that ships one for sure
# needs only that one; for the rest install.d takes what it finds in the image.
if [ -z "${DIB_HEAT_CONFIG_ZAQAR_PYTHONS:-}" ]; then
    case "${DISTRO_NAME:-}/${DIB_RELEASE:-}" in
        debian/bookworm) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.11" ;;
        debian/trixie) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.13" ;;
        ubuntu/noble) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.12" ;;
        ubuntu/resolute) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.14" ;;
        centos/9* | rhel/9* | rocky/9* | almalinux/9*) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.12" ;;
        centos/10* | rhel/10* | rocky/10* | almalinux/10*) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.12" ;;
        opensuse/15.*) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.11" ;;
        *) DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.11 3.12 3.13 3.14" ;;
    esac
fi
export DIB_HEAT_CONFIG_ZAQAR_PYTHONS

# sudo hands the builder's umask on: 077 would close what all users of the guest
# may read.
umask 022
