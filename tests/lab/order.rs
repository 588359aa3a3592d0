//! The order of keys in the files means nothing.

use crate::shop::Shop;
use crate::shuffle::reversed;

#[test]
fn plans_are_the_same_bytes_whatever_the_order_of_keys() {
    let Some(shop) = Shop::new() else { return };
    let plan =
        |version: &str| shop.stagecraft(&["plan", "--format", "json", "--version", version]).ok();
    let first = plan("v1");
    assert_eq!(plan("v1"), first);
    let reverse = || {
        for name in ["stagecraft.yml", "docker-compose.yml", ".stagecraft/secrets/staging.env"] {
            let text = std::fs::read_to_string(shop.file(name)).unwrap();
            std::fs::write(shop.file(name), reversed(&text)).unwrap();
        }
    };
    reverse();
    assert_eq!(plan("v1"), first);
    shop.apply();
    shop.secrets("LOG_LEVEL=warn\nDB_PASSWORD=first-password\nEXTRA=1\n");
    let second = plan("v2");
    assert!(second.contains("shop-api:v2") && second.contains("LOG_LEVEL"));
    reverse();
    assert_eq!(plan("v2"), second);
}
