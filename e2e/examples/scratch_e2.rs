use quartet_e2e::cluster::images::{Image, Images};
use quartet_e2e::*;
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let paths = paths::Paths::find()?;
    let client = cluster::client(Some(cluster::CONTEXT)).await?;
    let image = Image { repository: "quartet-node", tag: "none".into() };
    let images = Images { operator: image.clone(), node: image.clone(), node_next: image };
    let standing = up::Standing { client, images: Some(images) };
    let filters: Vec<String> = std::env::args().skip(1).collect();
    let chosen = scenarios::ALL
        .iter()
        .filter(|s| filters.iter().any(|f| s.name.contains(f.as_str())))
        .copied()
        .collect();
    let outcomes = runner::run(&paths, &standing, chosen).await;
    report::print(&outcomes);
    Ok(())
}
